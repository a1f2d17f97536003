"""`gp export` from the command line: a cut by a plan becomes a file, or words are refused."""

import shutil
from pathlib import Path

import pytest
from command_line import files_below, gp, refused
from export_models import largest_logit_difference, save_cut

PLAN = """\
format: globalprune.plan/1
target: {size: 1000}
remove_empty_layers: false
layers:
  0: {attention: all, mlp: "0-31"}
  1: {attention: "1", mlp: all}
  2: {attention: all, mlp: all}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model."""
    return save_cut(tmp_path_factory.mktemp("exporting") / "model")


def test_a_cut_by_a_plan_says_in_llama_cpp_what_it_says_here(model: Path, tmp_path: Path) -> None:
    """The notes of gp check, gp export and the file agree."""
    plan, cut, out = tmp_path / "plan.yaml", tmp_path / "cut", tmp_path / "new" / "cut.gguf"
    plan.write_text(PLAN, "utf-8")
    checked = gp("check", plan, "--model", model, "--for", "llama.cpp", "--json")
    assert gp("apply", model, "--plan", plan, "-o", cut).code == 0
    done = gp("export", cut, "--to", "gguf", "-o", out, "--save-dtype", "float32", "--json")

    assert done.code == 0, done.err
    assert done.json["padded"] == [
        {"layer": 0, "half": "attention"},
        {"layer": 1, "half": "mlp"},
    ]
    assert done.json["notes"][0] in checked.json["loading"]["notes"]
    assert f"note: {done.json['notes'][1]}" in done.err
    assert "allows 1,000 bytes at most, which is a promise for the folder" in done.err
    assert largest_logit_difference(out, cut) < 1e-4
    assert files_below(out.parent) == {"cut.gguf"}


def test_a_line_tells_what_was_written(model: Path, tmp_path: Path) -> None:
    """Written again, the file is replaced."""
    for _ in range(2):
        done = gp("export", model, "--to", "gguf", "-o", tmp_path / "m.gguf")
        assert done.code == 0, done.err
        assert done.out.endswith("m.gguf: llama, f16, 0.4 MB, 213,568 parameters\n")


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("m.gguf", ("--to", "onnx"), "--to onnx: is not known; there is gguf"),
        (
            "m.gguf",
            ("--dtype", "q4"),
            "--save-dtype q4: is not known; there are float32, float16, bfloat16, q8_0",
        ),
        ("notes.txt", (), "notes.txt: is there and is no GGUF file; name another with -o"),
        (".", (), "is a folder, where a file should be written"),
        ("{model}/m.gguf", (), "lies inside the model's folder"),
        ("m.gguf", ("--donor", "none.gguf"), "--donor none.gguf: is no GGUF file"),
        ("m.gguf", ("--donor", "notes.txt"), "--donor notes.txt: is no GGUF file"),
        ("m.gguf", ("--donor", "short.gguf"), "has 100 tokens, where the model's .* 320 rows"),
        ("m.gguf", ("--donor", "cut.gguf"), "--donor cut.gguf: can't be read"),
        ("short.gguf", ("--donor", "short.gguf"), "is the donor, which is only read"),
    ],
)
def test_words_that_cannot_be_meant(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    """Refused before any work, with nothing written."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine", "utf-8")
    _write_donor(Path("short.gguf"), tokens=100)
    Path("cut.gguf").write_bytes(Path("short.gguf").read_bytes()[:300])
    before = files_below(tmp_path)
    to = () if "--to" in words else ("--to", "gguf")
    done = gp("export", model, "-o", out.format(model=model), *to, *words)

    refused(done, message)
    assert files_below(tmp_path) == before


def test_a_gguf_file_is_no_model_to_export(model: Path, tmp_path: Path) -> None:
    """It is one already; nor is a folder without a tokenizer enough."""
    assert gp("export", model, "--to", "gguf", "-o", tmp_path / "a.gguf").code == 0
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "tokenizer.json").unlink()
    already = gp("export", tmp_path / "a.gguf", "--to", "gguf", "-o", tmp_path / "b.gguf")
    unspoken = gp("export", copy, "--to", "gguf", "-o", tmp_path / "b.gguf")

    refused(already, "is a GGUF file already; name the folder that it was made from")
    refused(unspoken, r"tokenizer\.json: can't be read .*--donor")


def _write_donor(path: Path, *, tokens: int) -> None:
    """A file with a tokenizer and nothing else."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{index}" for index in range(tokens)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
