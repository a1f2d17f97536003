"""`gp prune`: one command, every artifact left behind, stopped anywhere and gone on with."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any, TypeVar

import pytest
from applying import bytes_below
from command_line import files_below, gp, refused

from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.artifacts.evaluations.evaluation_table import read_evaluation
from globalprune.artifacts.results.finetuning import read_finetune_record

Tiny = Callable[[str], Path]
Item = TypeVar("Item")
MEASURE = ("--data", "builtin", "--samples", 4, "--seq-len", 24, "--ratio", 0.2)
LEARN = (
    "--finetune", "lora", "--finetune-data", "builtin", "--finetune-samples", 12,
    "--finetune-seq-len", 24, "--finetune-lr", 0.01, "--distil",
)  # fmt: skip


@pytest.fixture(scope="module")
def judging_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few windows that no phase learns from."""
    path = tmp_path_factory.mktemp("text") / "judge.txt"
    path.write_text("The printing press spread over Europe within fifty years. " * 40)
    return path


@pytest.fixture(scope="module")
def pruned(tiny: Tiny, judging_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a whole recipe."""
    out = tmp_path_factory.mktemp("recipe") / "out"
    done = gp("prune", tiny("llama"), "-o", out, *MEASURE, *LEARN, "--eval", judging_text)
    assert done.code == 0, done.err
    return out


def test_every_phase_leaves_its_artifacts(pruned: Path) -> None:
    """Table, curves, plan, map, records and figures; nothing unfinished beside them."""
    assert {path.name for path in (pruned / "globalprune").iterdir()} == {
        "groups.parquet", "analysis.json", "analyze.log", "plan.yaml", "origin.parquet",
        "plan.v1.schema.json", "metrics.json", "apply.log", "description.txt", "recovery.json",
        "loss.csv", "curves.parquet", "compensation.json",
        "evaluation.json", "evaluation.csv", "evaluation.md",
    }  # fmt: skip
    assert [path.name for path in pruned.parent.iterdir()] == ["out"]


def test_another_ratio_goes_on_from_there(tiny: Tiny, pruned: Path, tmp_path: Path) -> None:
    """The records' folder is an analysis like any other, and its plan cuts the model again."""
    own = pruned / "globalprune"
    planned = gp("plan", own, "--ratio", 0.3, "-o", tmp_path / "more.yaml", "--json")
    again = gp("apply", tiny("llama"), "--plan", own / "plan.yaml", "-o", tmp_path / "cut")

    assert planned.json["plans"][0]["ratio"] >= 0.3
    assert read_analysis(own).record.calibration.source == "builtin"
    assert again.code == 0, again.err


def test_all_three_states_are_judged(pruned: Path) -> None:
    """The model, what the cut left, and the finetuned one, by the same windows."""
    models = read_evaluation(pruned / "globalprune" / "evaluation.json").models

    assert [model.source.rpartition("/")[2] for model in models][1:] == ["out, cut only", "out"]
    assert models[0].parameters > models[1].parameters == models[2].parameters
    assert len({model.perplexity.windows for model in models}) == 1
    assert models[1].perplexity.nll_sum != models[2].perplexity.nll_sum


def test_the_card_tells_the_whole_story(pruned: Path) -> None:
    """What was cut, what it learned from whom, the figures, and the one command."""
    card = (pruned / "README.md").read_text("utf-8")
    run = read_finetune_record(pruned / "globalprune" / "recovery.json").runs[0]

    assert "What is left was finetuned." in card
    assert "LoRA (r 8, alpha 16), taught by" in card
    assert "| perplexity |" in card
    assert card.count("$ gp ") == 1
    assert f"- finetuning windows: `{run.data_digest}`" in card
    assert f"- weights after finetuning: `{run.weights}`" in card


class Stopped(BaseException):
    """What no library catches, as a signal is told."""


def stopping(at: str) -> Callable[..., Any]:
    """Bars that are interrupted at the second step of a phase, or at its only one."""

    def bars(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
        del unit
        for number, item in enumerate(items):
            if label == at and number == min(1, total - 1):
                raise Stopped
            yield item

    return bars


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["measuring", "ordering", "cut", "finetuning", "perplexity"])
def test_work_that_was_stopped_ends_as_if_it_had_not_been(
    tiny: Tiny,
    pruned: Path,
    judging_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    """OUT isn't there before; a start without a word is refused; --resume gives the weights."""
    judge = ("--eval", judging_text)
    command = ("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE, *LEARN, *judge)
    with monkeypatch.context() as patch:
        patch.setattr("globalprune.cli.console._lines", stopping(phase))
        patch.setattr("globalprune.statistics.collect.PAUSE", 0.0)
        with pytest.raises(Stopped):
            gp(*command)
    assert not (tmp_path / "out").exists()
    refused(gp(*command), r"out\.unfinished: holds a run that was stopped; say --resume")
    done = gp(*command, "--resume")

    assert done.code == 0, done.err
    weights = "model.safetensors"
    assert bytes_below(tmp_path / "out")[weights] == bytes_below(pruned)[weights]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_work_is_not_gone_on_with(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed command that asks for something else says in what they differ."""
    command = ("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE)
    with monkeypatch.context() as patch:
        patch.setattr("globalprune.cli.console._lines", stopping("cut"))
        with pytest.raises(Stopped):
            gp(*command)
    before = files_below(tmp_path)

    refused(
        gp(*command, "--ratio", 0.3, "--resume"),
        r"run\.json: can't be resumed.*\(ratio was 0\.2, is 0\.3\); repeat its command",
    )
    assert files_below(tmp_path) == before


def test_a_text_that_changed_meanwhile_is_another(
    tiny: Tiny, judging_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups found on one text are not repaired on another one under the same name."""
    text = tmp_path / "text.txt"
    text.write_bytes(judging_text.read_bytes())
    command = ("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE, "--data", text)
    with monkeypatch.context() as patch:
        patch.setattr("globalprune.cli.console._lines", stopping("cut"))
        with pytest.raises(Stopped):
            gp(*command)
    text.write_text(text.read_text().replace("Europe", "Africa"))
    refused(gp(*command, "--resume"), r"can't be resumed.*\(text was sha256:\w+, is sha256:\w+\)")


def test_planning_on_leaves_the_plan_that_was_applied(pruned: Path, tmp_path: Path) -> None:
    """Another ratio gets a name of its own there, so that the card stays true."""
    own = Path(copytree(pruned, tmp_path / "out")) / "globalprune"
    before = (own / "plan.yaml").read_bytes()
    planned = gp("plan", own, "--ratio", 0.3, "--json")

    assert [plan["path"] for plan in planned.json["plans"]] == [str(own / "plan-0.30.yaml")]
    assert (own / "plan.yaml").read_bytes() == before


def test_work_that_was_stopped_at_once_leaves_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first minute there is nothing to go on with."""
    monkeypatch.setattr("globalprune.cli.console._lines", stopping("measuring"))
    with pytest.raises(Stopped):
        gp("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE)
    assert not list(tmp_path.iterdir())


def test_a_typo_is_not_in_the_way_of_the_mended_command(tiny: Tiny, tmp_path: Path) -> None:
    """Work that failed before anything was kept leaves nothing to be resumed or overwritten."""
    words = ("finetune", tiny("llama"), "-o", tmp_path / "out", "--data", "builtin")
    refused(gp(*words, "--samples", 4, "--seq-len", 16, "--lora-targets", "foo"), "foo: the model")
    assert not list(tmp_path.iterdir())


def test_a_ratio_out_of_reach_leaves_the_analysis(tiny: Tiny, tmp_path: Path) -> None:
    """Exit code 1 before anything is cut; what was measured lies there to be planned from."""
    done = gp("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE, "--ratio", 0.9)

    assert done.code == 1
    assert "ratio 0.9 asks for" in done.err
    assert gp("plan", tmp_path / "out.unfinished/analysis", "--ratio", 0.3).code == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--finetune", "much"), r"much: is no way to finetune; there are lora, full, light"),
        (("--distil",), r"--distil: says how to finetune; say --finetune lora too"),
        (("--lora-r", 4), r"--lora-r: says how to finetune"),
        (("--finetune", "full", "--lora-r", 4), r"--lora-r: full finetuning has no adapters"),
        (("--ratio", 1.5), r"1\.5"),
        (("--samples", 1, "--preset", "fast"), r"compensation: a single window of text"),
        (("--gate-steps", 1, "--no-compensate"), r"--gate-steps: is for --compensate"),
        (("--gate-steps", 1, "--preset", "founding"), r"--gate-steps: is for --compensate"),
        (("--eval", "no.txt"), r"no\.txt: there is no such file"),
        (("--finetune", "lora", "--finetune-data", "no.txt"), r"no\.txt: there is no such file"),
        (
            ("--finetune", "lora", "--finetune-samples", 90_000),
            r"say --finetune-samples \d+, a smaller --finetune-seq-len",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_can_be_refused_is_refused_first(
    tiny: Tiny, tmp_path: Path, words: tuple[Any, ...], text: str
) -> None:
    """Before anything is measured, and nothing is left behind."""
    refused(gp("prune", tiny("llama"), "-o", tmp_path / "out", *MEASURE, *words), text)
    assert not list(tmp_path.iterdir())


def test_a_ratio_beyond_reach_cuts_only_if_the_largest_plan_will_do(
    tiny: Tiny, tmp_path: Path
) -> None:
    """The analysis stays to be gone on from; exit code 1 either way."""
    out = tmp_path / "out"
    words = ("prune", tiny("llama"), "-o", out, *MEASURE[:-1], 0.97, "--preset", "founding")
    refusal = gp(*words, "--rounds", 2)

    assert refusal.code == 1
    assert "no plan was written" in refusal.err
    assert not out.exists()
    done = gp(*words, "--rounds", 2, "--resume", "--largest")
    assert done.code == 1
    assert "the largest plan was written" in done.err
    assert (out / "config.json").is_file()
