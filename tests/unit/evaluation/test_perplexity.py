"""One model, found before it is loaded and measured as any other."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import write_record
from measuring import described, loaded, windows_of
from records import text_record
from tiny_models import random_ids, tiny_model

import globalprune
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.results.finetuning import FinetuneSettings, read_finetune_record
from globalprune.artifacts.run_folder import RunFolder
from globalprune.errors import NonFiniteError
from globalprune.evaluation.candidates import open_candidate
from globalprune.evaluation.perplexity import (
    EvaluationProtocol,
    evaluate_model,
    perplexity,
    warn_of_contamination,
)
from globalprune.evaluation.windows import EvaluationText
from globalprune.models.placement import Placement
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions, FinetuneOptions
from globalprune.progress import silent

Tiny = Callable[[str], Path]
ROWS = [row.tolist() for row in random_ids(3, 12)]


def write_rows(path: Path, rows: list[list[int]] = ROWS) -> Path:
    """Write windows of ids as a file of text would be given."""
    path.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows))
    return path


def protocol_of(data: Path, **changes: Any) -> EvaluationProtocol:
    """What a model is evaluated by."""
    placement = changes.pop("placement", Placement("cpu", None))
    versions = changes.pop("versions", {"torch": "1"})
    options = EvaluateOptions(str(data), **({"batch_size": 2} | changes))
    return EvaluationProtocol(options, placement, None, versions, silent)


def judge(
    folder: Path, protocol: EvaluationProtocol, cache: Path | None = None
) -> tuple[ModelResult, TextRecord]:
    """One model's figures, and the text that it was judged by."""
    candidate = open_candidate(PreparedModel(folder), identifying=silent)
    windows = EvaluationText(protocol.options).windows_for(candidate.model)
    return evaluate_model(candidate, windows, protocol, RunFolder(cache)), windows.record


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_the_figures_are_the_models(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """Perplexity by the given windows, parameters once, bytes as they lie on the disk."""
    folder = tiny(family)
    result, text = judge(folder, protocol_of(write_rows(tmp_path / "t.jsonl")))
    judged = perplexity(loaded(folder), windows_of(list(random_ids(3, 12))))
    found = result.perplexity
    assert found.value == pytest.approx(judged.value, rel=1e-6)
    assert found.value == math.exp(found.nll_sum / found.predicted_tokens)
    assert found.predicted_tokens == 3 * 11
    assert result.parameters == described(folder)[1].parameters
    assert result.file_bytes == (folder / "model.safetensors").stat().st_size
    assert result.file_bytes > 4 * result.parameters
    heads = loaded(folder).config.num_key_value_heads
    assert result.kv_cache_bytes_per_token == 2 * 4 * heads * 8 * 4
    assert (result.source, result.dtype, result.warnings) == (str(folder), "float32", ())
    assert (text.tokens, text.digest) == (36, found.windows)


def test_the_asked_dtype_is_the_one_that_is_measured(tiny: Tiny, tmp_path: Path) -> None:
    """It is recorded as it was, since it moves the figure."""
    data = write_rows(tmp_path / "t.jsonl")
    half, _ = judge(tiny("llama"), protocol_of(data, placement=Placement("cpu", torch.bfloat16)))
    whole = perplexity(loaded(tiny("llama")), windows_of(list(random_ids(3, 12))))
    assert half.dtype == "bfloat16"
    assert half.perplexity.nll_sum != whole.nll_sum
    assert half.perplexity.nll_sum == pytest.approx(whole.nll_sum, rel=0.05)


@pytest.mark.parametrize("length", [256, 257])
def test_windows_that_the_model_was_not_made_for_are_told(
    tiny: Tiny, tmp_path: Path, length: int
) -> None:
    """256 positions is what the tiny models know; one more is worth a word."""
    rows = [row.tolist() for row in random_ids(1, length)]
    data = write_rows(tmp_path / "t.jsonl", rows)
    result, _ = judge(tiny("llama"), protocol_of(data))
    told = [warning.partition(" that")[0] for warning in result.warnings]
    text = "windows of 257 tokens are longer than the 256 positions"
    assert told == ([text] if length == 257 else [])


def test_a_text_that_the_cut_was_made_by_is_told(tiny: Tiny, tmp_path: Path) -> None:
    """By the digests of its rows, which the evaluation's own record names."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "cut"))
    data = write_rows(tmp_path / "t.jsonl")
    _, text = judge(folder, protocol_of(data, samples=1))
    structure = described(folder)[1]
    write_record(folder / "globalprune", structure, table="sha256:t", digests=text.document_digests)
    result, _ = judge(folder, protocol_of(data))
    [warning] = result.warnings
    assert warning.startswith("1 of 3 evaluation documents was seen in calibration")


def test_a_finished_part_is_taken_up_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last digit, and without loading the model a second time."""
    asked = protocol_of(write_rows(tmp_path / "t.jsonl"))
    first, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    [part] = (tmp_path / "parts").iterdir()
    monkeypatch.setattr("globalprune.evaluation.perplexity.load_candidate", pytest.fail)
    again, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    assert again == first.model_copy(update={"from_earlier_run": ("text",)})
    assert json.loads(part.read_text())["perplexity"]["window_nll"] == list(
        first.perplexity.window_nll
    )


CHANGES: dict[str, Any] = {
    "batch size": {"batch_size": 3},
    "samples": {"samples": 2},
    "precision": {"placement": Placement("cpu", torch.bfloat16)},
    "versions": {"versions": {"torch": "2"}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_question_is_asked_anew(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """A part of another question never answers this one."""
    data = write_rows(tmp_path / "t.jsonl")
    judge(tiny("llama"), protocol_of(data), tmp_path / "parts")
    found, _ = judge(tiny("llama"), protocol_of(data, **CHANGES[name]), tmp_path / "parts")
    assert found.from_earlier_run == ()


def test_another_model_is_asked_anew(tiny: Tiny, tmp_path: Path) -> None:
    """Of other weights, or of the same weights with another config."""
    asked = protocol_of(write_rows(tmp_path / "t.jsonl"))
    judge(tiny("llama"), asked, tmp_path / "parts")
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["rms_norm_eps"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    for other in (tiny("llama_one_kv"), folder):
        assert judge(other, asked, tmp_path / "parts")[0].from_earlier_run == ()
    tokens = Path(shutil.copytree(tiny("llama"), tmp_path / "tokens")) / "tokenizer_config.json"
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | {"add_prefix_space": True}))
    assert judge(tokens.parent, asked, tmp_path / "parts")[0].from_earlier_run == ()


@pytest.mark.parametrize("damage", ["", "{", '{"source": "x"}'], ids=["empty", "cut", "foreign"])
def test_a_damaged_part_is_measured_again(tiny: Tiny, tmp_path: Path, damage: str) -> None:
    """And written anew."""
    asked = protocol_of(write_rows(tmp_path / "t.jsonl"))
    first, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    [part] = (tmp_path / "parts").iterdir()
    part.write_text(damage)
    again, _ = judge(tiny("llama"), asked, tmp_path / "parts")
    assert (again.from_earlier_run, again.perplexity) == ((), first.perplexity)
    assert json.loads(part.read_text())["source"] == str(tiny("llama"))


RAGGED = tuple(random_ids(1, length, seed)[0] for seed, length in enumerate((2, 9, 9, 3, 40, 9)))


def losses(model: Any, rows: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The loss of every predicted token of every row, by hand and in float64."""
    found = []
    for row in rows:
        with torch.no_grad():
            logits = model(row[None]).logits[0].double()
        likelihoods = logits.log_softmax(dim=-1)
        found.append(-likelihoods[:-1].gather(1, row[1:, None])[:, 0])
    return found


@pytest.mark.parametrize("length", [2, 128, 129, 130, 200])
def test_equal_windows_give_transformers_own_loss(length: int) -> None:
    """Also where a window is longer than what is taken at once, by one token or by many."""
    model, ids = tiny_model("llama"), random_ids(3, length)
    with torch.no_grad():
        expected = model(input_ids=ids, labels=ids).loss
    found = perplexity(model, windows_of(list(ids)), batch_size=2)
    assert found.predicted_tokens == 3 * (length - 1)
    assert found.value == pytest.approx(math.exp(expected), rel=1e-5)
    assert found.nll_sum == pytest.approx(float(expected) * 3 * (length - 1), rel=1e-5)


def test_ragged_windows_are_weighted_by_token() -> None:
    """A mean of the windows' means would be quite another figure here."""
    model = tiny_model("llama")
    tokens = losses(model, RAGGED)
    by_token = float(torch.cat(tokens).mean())
    by_window = float(torch.stack([window.mean() for window in tokens]).mean())
    assert abs(by_token - by_window) > 0.1
    found = perplexity(model, windows_of(RAGGED))
    assert found.predicted_tokens == sum(len(row) - 1 for row in RAGGED)
    assert found.value == pytest.approx(math.exp(by_token), rel=1e-5)


def test_every_window_keeps_its_own_sum() -> None:
    """In the order of the windows, whatever shared its batch: differences are paired by them."""
    model = tiny_model("llama")
    found = perplexity(model, windows_of(RAGGED), batch_size=2)
    assert found.window_nll == pytest.approx([float(row.sum()) for row in losses(model, RAGGED)])
    assert found.window_tokens == tuple(len(row) - 1 for row in RAGGED)
    assert found.windows == "sha256:0"


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    """Rounding apart; rows of other lengths are never padded into a batch."""
    model = tiny_model("qwen3")
    one, many = (perplexity(model, windows_of(RAGGED), size) for size in (1, batch_size))
    assert many.predicted_tokens == one.predicted_tokens
    assert many.nll_sum == pytest.approx(one.nll_sum, rel=1e-6)


def test_half_precision_is_summed_in_single() -> None:
    """In bfloat16 a sum over a window would lose its last digits."""
    model = tiny_model("llama").bfloat16()
    tokens = losses(model, RAGGED)
    found = perplexity(model, windows_of(RAGGED))
    assert found.nll_sum == pytest.approx(float(torch.cat(tokens).sum()), rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error(value: float) -> None:
    """It is never a figure in a table; the message says what to try."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = value
    model.train()
    with pytest.raises(
        NonFiniteError, match=r"^mine: the loss of a window is (nan|inf); try --dtype"
    ):
        perplexity(model, windows_of(RAGGED), name="mine")
    assert model.training


def test_a_ruined_model_is_infinitely_perplexed() -> None:
    """A mean loss beyond what exp can hold is a result, unlike a loss that is no number."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1e4)
    found = perplexity(model, windows_of(RAGGED))
    assert found.value is None
    assert math.isfinite(found.nll_sum)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
def test_the_model_is_judged_in_eval_mode_and_left_as_it_was(*, training: bool) -> None:
    """Dropout would make the figure a matter of luck."""
    model = tiny_model("llama", attention_dropout=0.5)
    expected = perplexity(model, windows_of(RAGGED))
    model.train(training)
    assert perplexity(model, windows_of(RAGGED)) == expected
    assert model.training == training
    assert all(module.training == training for module in model.modules())
    assert not any(parameter.grad is not None for parameter in model.parameters())


CALIBRATED = ("sha256:a", "sha256:b", "sha256:c")


@pytest.fixture
def result(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder in which the analysis lies that it was cut by."""
    structure = described(tiny("llama"))[1]
    write_record(tmp_path / "globalprune", structure, table="sha256:t", digests=CALIBRATED)
    return tmp_path


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        (("sha256:b",), "1 of 1 evaluation document was seen in calibration (calibration.txt)"),
        (
            ("sha256:x", "sha256:c", "sha256:a", "sha256:a"),
            "2 of 3 evaluation documents were seen in calibration (calibration.txt)",
        ),
    ],
    ids=["one", "some"],
)
def test_documents_that_were_seen_are_counted(
    result: Path, documents: Sequence[str], text: str
) -> None:
    """Each once, and the message names the calibration text and says what to do."""
    warning = warn_of_contamination(result, text_record(document_digests=tuple(documents)))
    assert warning is not None
    assert warning.startswith(text)
    assert warning.endswith("the perplexity flatters this model, so judge it by other text.")


def test_other_documents_give_no_warning(result: Path) -> None:
    """Nor does the same source with other documents."""
    assert (
        warn_of_contamination(
            result, text_record(document_digests=("sha256:x",), source="calibration.txt")
        )
        is None
    )


def test_a_model_without_a_record_gives_no_warning(tmp_path: Path) -> None:
    """Nothing is known of how it was made."""
    assert warn_of_contamination(tmp_path, text_record(document_digests=tuple(CALIBRATED))) is None


def test_a_record_that_can_not_be_read_is_said(result: Path) -> None:
    """Silence would pass for a clean bill."""
    (result / "globalprune" / "analysis.json").write_text("{}")
    warning = warn_of_contamination(result, text_record(document_digests=("sha256:x",)))
    assert warning is not None
    assert warning.startswith("can't tell whether this text was seen before: ")


def test_text_that_was_learned_counts_too(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """A finetuned model is flattered by its own lessons, more than by calibration."""
    out = tmp_path / "out"
    settings = FinetuneSettings(samples=2, seq_len=16)
    globalprune.finetune(tiny("llama"), out, FinetuneOptions(settings, ("builtin",)))
    learned = read_finetune_record(out / "globalprune" / "recovery.json").runs[0].data[0].text
    warning = warn_of_contamination(out, learned)

    assert warning is not None
    assert f"seen in finetuning ({learned.source})" in warning
