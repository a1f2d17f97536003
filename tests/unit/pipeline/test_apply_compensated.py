"""`gp apply --compensate`: one command, that says what it did and goes on where it was stopped."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from applying import bytes_below
from command_line import Said, gp, refused
from compensating import LENGTH, changed_in, differing, ids_file, record_of
from cutting import Removals, tensors_in, write_removals

from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.compensation.sublayer_weights import compensate_sublayer
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import ApplyOptions
from globalprune.pipeline.apply import apply_plan
from globalprune.progress import Reporter

Tiny = Callable[[str], Path]
GONE: Removals = {1: {"mlp": [0, 1, 2]}, 2: {"attention": [3]}}
SOLVED = 5  # sublayers from the mlp of layer 1 on


class Stop(BaseException):
    """Someone presses Ctrl-C."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Windows of ids."""
    return ids_file(tmp_path)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan that leaves layers of different sizes."""
    return write_removals(tmp_path / "plan.yaml", GONE)


def apply(model: Path, plan: Path, data: Path, *words: Any, out: str = "out") -> Said:
    """Cut and compensate beside the plan."""
    place = plan.with_name(out)
    return gp("apply", model, "--plan", plan, "-o", place, "--compensate", "--data", data, *words)


def stopped(model: Path, plan: Path, data: Path, after: int) -> Path:
    """Stop a run when so many sublayers were walked through; return the folder of its work."""

    def progress(items: Iterable[Any], *, label: str, **_: Any) -> Iterator[Any]:
        for count, item in enumerate(items):
            if label == "compensating" and count == after:
                raise Stop
            yield item

    options = ApplyOptions(compensation=CompensationRequest(data=str(data)))
    with pytest.raises(Stop):
        apply_plan(
            PreparedModel(model), plan, plan.with_name("out"), options, reporter=Reporter(progress)
        )
    assert not plan.with_name("out").exists()
    return plan.with_name("out.unfinished")


@pytest.fixture
def solving(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inputs each sublayer had that was solved, in order."""
    solved: list[int] = []

    def noting(sublayer: Any, output: Any, columns: Any, *rest: Any) -> Any:
        solved.append(len(columns))
        return compensate_sublayer(sublayer, output, columns, *rest)

    monkeypatch.setattr("globalprune.compensation.compensate.compensate_sublayer", noting)
    return solved


def test_one_command_leaves_one_folder_that_tells_of_it(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path
) -> None:
    """Document, record, summary and card say the same; nothing of the work is left."""
    done = apply(tiny("llama"), plan, data, "--json")
    assert done.code == 0, done.err
    out = tmp_path / "out"
    record = record_of(out)
    gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "plain")
    assert done.json["repaired_modules"] == record.accepted
    assert done.json["final_norm_refitted"] == record.final_norm_refitted
    assert differing(out, tmp_path / "plain") == changed_in(out)
    assert record.accepted > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "plan.yaml", "rows.parquet", "out", "plain",
    }  # fmt: skip

    card = (out / "README.md").read_text("utf-8")
    assert "What is left was compensated, without training." in card
    sublayers = f"{record.accepted} of {SOLVED} sublayers"
    assert f"{sublayers} (o_proj, down_proj, gate and up) were compensated" in card
    assert f"- compensation windows: `{record.text.digest}`" in card
    assert "compensated" not in (tmp_path / "plain" / "README.md").read_text("utf-8")

    summary = apply(tiny("llama"), plan, data, out="again").out
    assert f"compensated: {record.accepted} sublayers" in summary
    assert record.final_norm_refitted == ("sublayers and the final norm" in summary)
    assert record.final_norm_refitted == ("and the final norm by the divergence" in card)


def test_judging_by_the_same_text_gives_a_warning(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path
) -> None:
    """Other text gives none."""
    apply(tiny("llama"), plan, data)
    judged = gp("eval", tmp_path / "out", "--data", data)
    assert judged.code == 0, judged.err
    assert "16 of 16 evaluation documents were seen in compensation" in judged.err
    other = ids_file(tmp_path / "other", seed=1)
    assert "seen in" not in gp("eval", tmp_path / "out", "--data", other).err


def test_explain_lists_what_is_solved(tiny: Tiny, plan: Path, data: Path, tmp_path: Path) -> None:
    """Exactly the tensors of the record, with the shapes that are written; nothing is written."""
    told = apply(tiny("llama"), plan, data, "--explain", "--json")
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml", "rows.parquet"}
    steps = [step for step in told.json["steps"] if step["step"] == "SolveTensor"]
    lines = apply(tiny("llama"), plan, data, "--explain").out.splitlines()
    assert "model.norm.weight is compensated" in lines
    apply(tiny("llama"), plan, data)
    modules = record_of(tmp_path / "out").modules
    gated = [module.tensor for module in modules if module.group_type == "mlp"]
    assert {step["name"] for step in steps} == {
        *(module.tensor for module in modules),
        *(name.replace("down_proj", other) for name in gated for other in ("gate_proj", "up_proj")),
    }
    stored = tensors_in(tmp_path / "out")
    for step in steps:
        assert step["facts"]["shape"] == list(stored[step["becomes"]].shape)
    assert "layer 3: keeps its widths" in lines
    gates = "gate_proj.weight 24×32, up_proj.weight 24×32"
    (solved,) = (line for line in lines if line.endswith("o_proj.weight 32×64"))
    assert sorted(solved.removeprefix("    compensate  ").split(", ")) == sorted(
        ["down_proj.weight 32×24", *gates.split(", "), "o_proj.weight 32×64"]
    )
    assert [line for line in lines if "compensate" in line and "down_proj.weight 32×21" in line]
    assert not [line for line in lines if "cut to" in line and "down_proj" in line]
    assert not [line for line in lines if line.startswith("layer 0")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--samples", 1), r"compensation: a single window of text"),
        (("--samples", 99), r"99"),
        (("--device", "cuda:7"), r"--device cuda:7"),
        (("--gate-steps", -1), r"--gate-steps -1: can't be negative; 0 leaves gate and up alone"),
    ],
    ids=["one window", "too many", "no such device", "negative"],
)
def test_what_cannot_be_compensated_leaves_nothing(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path, words: tuple[Any, ...], text: str
) -> None:
    """No work to go on with either."""
    refused(apply(tiny("llama"), plan, data, *words), text)
    assert {path.name for path in tmp_path.iterdir()} == {"plan.yaml", "rows.parquet"}


@pytest.mark.parametrize(
    "words", [("--data", "x.txt"), ("--samples", 3), ("--seq-len", 8), ("--gate-steps", 1)], ids=str
)
def test_text_without_compensation_is_refused(
    tiny: Tiny, plan: Path, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    """Nobody may think that the plain cut looked at it."""
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out", *words)
    refused(done, rf"{words[0]}: only --compensate reads that; say it too, or leave it out")


@pytest.mark.parametrize("after", [4, 6], ids=["after one solved", "after three"])
def test_a_stopped_run_goes_on_from_what_it_solved(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path, solving: list[int], after: int
) -> None:
    """To the weights of a run that nobody stopped, bit for bit, and no sublayer is solved twice."""
    apply(tiny("llama"), plan, data, out="whole")
    everything = list(solving)
    work = stopped(tiny("llama"), plan, data, after)
    kept = after - 3  # the first three sublayers had nothing to solve
    assert len(list((work / "compensating").iterdir())) == kept
    refused(apply(tiny("llama"), plan, data), r"holds a run that was stopped; say --resume")

    solving.clear()
    done = apply(tiny("llama"), plan, data, "--resume", "--json")
    assert done.code == 0, done.err
    assert len(everything) == SOLVED
    assert solving == everything[kept:]
    assert differing(tmp_path / "out", tmp_path / "whole") == set()
    assert record_of(tmp_path / "out").modules == record_of(tmp_path / "whole").modules
    assert not work.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--seed", 1), r"since another run was started \(compensation\.seed was 0, is 1\)"),
        (
            ("--samples", 8),
            r"since another run was started \(compensation\.samples was None, is 8\)",
        ),
        (
            ("--gate-steps", 0),
            r"since another run was started \(compensation\.gate_steps was 1, is 0",
        ),
        (("--dtype", "bfloat16"), r"another run was started \(dtype was None, is bfloat16\)"),
    ],
    ids=["seed", "samples", "steps", "dtype"],
)
def test_another_compensation_is_not_resumed(
    tiny: Tiny, plan: Path, data: Path, words: tuple[Any, ...], text: str
) -> None:
    """What was solved stays for its own command."""
    work = stopped(tiny("llama"), plan, data, 5)
    before = bytes_below(work)
    refused(apply(tiny("llama"), plan, data, "--resume", *words), text)
    assert bytes_below(work) == before


def test_a_resumed_run_may_take_smaller_batches(tiny: Tiny, plan: Path, data: Path) -> None:
    """They change nothing but rounding, and memory may be why the first run was stopped."""
    stopped(tiny("llama"), plan, data, 5)
    done = apply(tiny("llama"), plan, data, "--resume", "--batch-size", 1)
    assert done.code == 0, done.err


def test_another_file_of_text_is_not_resumed(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path
) -> None:
    """Nor is the same file with other text in it: half the model would be of either."""
    stopped(tiny("llama"), plan, data, 5)
    other = ids_file(tmp_path / "other", seed=1)
    refused(apply(tiny("llama"), plan, other, "--resume"), r"another run was started \(compens")
    data.write_bytes(other.read_bytes())
    told = r"another run was started \(texts\..*rows.parquet was sha256"
    refused(apply(tiny("llama"), plan, data, "--resume"), told)
    done = apply(tiny("llama"), plan, data, "--overwrite")
    assert done.code == 0, done.err
    assert apply(tiny("llama"), plan, other, out="fresh").code == 0
    assert differing(tmp_path / "out", tmp_path / "fresh") == set()


def test_a_run_that_solved_nothing_leaves_nothing(tiny: Tiny, plan: Path, data: Path) -> None:
    """The next start needs no word about it."""
    work = stopped(tiny("llama"), plan, data, 2)
    assert not work.exists()
    assert apply(tiny("llama"), plan, data, "--resume").code == 0


def test_a_compensated_model_may_learn_behind_it(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path
) -> None:
    """Both records lie there, and the card tells both."""
    words = ("--finetune", "full", "--finetune-data", data, "--finetune-seq-len", LENGTH)
    done = apply(tiny("llama"), plan, data, *words, "--json")
    assert done.code == 0, done.err
    own = tmp_path / "out" / "globalprune"
    assert {"compensation.json", "recovery.json"} <= {path.name for path in own.iterdir()}
    assert done.json["repaired_modules"] == record_of(tmp_path / "out").accepted
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "What is left was finetuned." in card
    assert "were compensated by least squares" in card


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("--data", "no.txt"), "no.txt"),
        (("--data", "builtin", "--samples", 1, "--seq-len", 24), "a single window of text"),
    ],
    ids=["no text", "one window"],
)
def test_explain_refuses_what_the_run_would(
    tiny: Tiny, tmp_path: Path, said: tuple[str, ...], told: str
) -> None:
    """Text that can't be compensated with is no less wrong where nothing is to be written."""
    plan = write_removals(tmp_path / "plan.yaml", {1: {"mlp": [0]}})
    done = gp("apply", tiny("llama"), "--plan", plan, "--compensate", *said, "--explain")
    refused(done, told)


def test_what_is_doubtful_is_said_before_the_work(tiny: Tiny, plan: Path, data: Path) -> None:
    """Once, and not after hours of it; the record keeps it."""
    plan.write_text(plan.read_text().replace("layers:", "pin: {1: {mlp: {width: 24}}}\nlayers:"))
    told: list[str] = []

    def progress(items: Iterable[Any], *, label: str, **_: Any) -> Iterator[Any]:
        told.append(label)
        yield from items

    request = CompensationRequest(data=str(data), samples=2)
    result = apply_plan(
        PreparedModel(tiny("llama")),
        plan,
        plan.with_name("out"),
        ApplyOptions(compensation=request),
        reporter=Reporter(progress, told.append),
    )
    pinned, few = told[: told.index("compensating")]
    assert "pin.1.mlp.width: 24 are pinned to stay, 21 do; change the pin" in pinned
    assert "48 tokens of text are few to compensate 24 channels of an MLP" in few
    assert result.cut.warnings == result.warned == (pinned, few)
    assert few not in apply(tiny("llama"), plan, data, out="more").err


def test_a_model_that_changed_meanwhile_is_another(
    tiny: Tiny, plan: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever changed of it, or of the versions, is named; put back, the work goes on."""
    model = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    stopped(model, plan, data, 5)
    edits = {
        "config.json": (
            "rms_norm_eps",
            r"config\.json\.rms_norm_eps was \S+, is None; model\.config",
        ),
        "tokenizer.json": ("<unk>", r"model\.tokenizer\.json was sha256:\w+, is sha256:"),
    }
    for name, (text, told) in edits.items():
        content = (model / name).read_text()
        assert text in content
        (model / name).write_text(content.replace(text, "norm_eps"))
        refused(apply(model, plan, data, "--resume"), told)
        (model / name).write_text(content)
    with monkeypatch.context() as patch:
        patch.setattr("globalprune.artifacts.records.platform.python_version", lambda: "3.1")
        refused(apply(model, plan, data, "--resume"), r"\(versions\.python was .*, is 3\.1\)")
    assert apply(model, plan, data, "--resume").code == 0
