"""The public functions: each runs on a tiny model by itself, without the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from analysing import write_ids
from tiny_finetunings import small
from tiny_models import random_ids

import globalprune
from globalprune import (
    AnalyzeOptions,
    ApplyOptions,
    EvaluateOptions,
    FinetuneOptions,
    PlanOptions,
    PruneOptions,
    Reporter,
)
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.errors import BudgetError, UsageError
from globalprune.models.prepared_model import PreparedModel
from globalprune.pipeline.analyze import AnalyzeResult

Tiny = Callable[[str], Path]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Windows of ids, for which no tokenizer is needed."""
    return write_ids(tmp_path / "ids.jsonl", tuple(random_ids(6, 12)))


@pytest.fixture
def analysed(tiny: Tiny, tmp_path: Path, data: str) -> AnalyzeResult:
    """An analysis of a tiny model with its first plan."""
    options = AnalyzeOptions(data=data, ratio=0.2)
    return globalprune.analyze(tiny("llama"), tmp_path / "analysis", options)


def test_analyze_returns_the_analysis_and_its_first_plan(
    analysed: AnalyzeResult, tmp_path: Path
) -> None:
    """As they lie in the folder."""
    folder = tmp_path / "analysis"
    assert analysed.analysis.record == globalprune.read_analysis(folder).record
    assert analysed.plan.written
    assert globalprune.read_plan(analysed.plan.path) == analysed.plan.plan


def test_plan_takes_an_analysis_or_its_folder(analysed: AnalyzeResult, tmp_path: Path) -> None:
    """To the same plan; each ratio gives one."""
    options = PlanOptions(ratios=(0.1, 0.3))
    first = globalprune.plan(analysed.analysis, options, tmp_path / "one")
    second = globalprune.plan(str(tmp_path / "analysis"), options, tmp_path / "two")
    digests = [[one.plan.decisions_digest() for one in made] for made in (first, second)]
    assert digests[0] == digests[1]
    assert [one.path.name for one in first] == ["plan-0.10.yaml", "plan-0.30.yaml"]


def test_apply_cuts_and_compensates(analysed: AnalyzeResult, tiny: Tiny, tmp_path: Path) -> None:
    """Into a folder that loads; notes and warnings come back with the figures."""
    plain = globalprune.apply(tiny("llama"), analysed.plan.path, tmp_path / "plain")
    request = CompensationRequest(data=str(tmp_path / "ids.jsonl"), gate_steps=0)
    options = ApplyOptions(compensation=request)
    better = globalprune.apply(tiny("llama"), analysed.plan.path, str(tmp_path / "out"), options)
    assert plain.cut.parameters_after == better.cut.parameters_after
    assert (plain.cut.repaired_modules, bool(better.cut.repaired_modules)) == (None, True)
    assert len(plain.notes) == 1
    assert better.notes == ()
    assert globalprune.load_model(tmp_path / "out").num_parameters() > 0


def test_evaluate_compares_and_keeps_the_figures(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """Models that were prepared are taken as they are; without a folder nothing is written."""
    model = PreparedModel(tiny("llama"))
    options = EvaluateOptions(data=data, speed=None)
    first = globalprune.evaluate([model, tiny("llama_one_kv")], options)
    assert [path.name for path in tmp_path.iterdir()] == ["ids.jsonl"]
    again = globalprune.evaluate([model], options, tmp_path / "judged")
    assert again.models[0].perplexity == first.models[0].perplexity
    written = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert written["models"][0]["weights"] == model.weights()


def test_finetune_returns_its_record(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """And the first model that it was made from."""
    options = FinetuneOptions(small(samples=4), (data,), device="cpu")
    run = globalprune.finetune(tiny("llama"), tmp_path / "out", options)
    assert run is not None
    assert run.model.source == str(tiny("llama"))
    assert run.steps == 1


def test_prune_does_all_in_a_row(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """The plan is shown before the cut; the reporter's command is recorded."""
    shown: list[float] = []
    result = globalprune.prune(
        tiny("llama"),
        tmp_path / "out",
        PruneOptions(0.2, data=data, preset="founding", evaluate=data),
        on_plan=lambda written: shown.append(written.effect.ratio),
        reporter=Reporter(command=("a", "notebook")),
    )
    assert shown == [result.cut.ratio]
    assert result.cut.command == ("a", "notebook")
    assert result.evaluation is not None
    assert [model.source for model in result.evaluation.models][1] == str(tmp_path / "out")


def test_prune_raises_where_the_ratio_is_out_of_reach(
    tiny: Tiny, tmp_path: Path, data: str
) -> None:
    """Unless the caller has a say in it; the analysis stays to be resumed."""
    options = PruneOptions(0.97, data=data, preset="founding")
    with pytest.raises(BudgetError, match=r"plan\.yaml: the ratio can't be reached \(--ratio 0\."):
        globalprune.prune(tiny("llama"), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.unfinished" / "analysis" / "analysis.json").is_file()


def test_a_model_that_is_written_into_is_refused(tiny: Tiny, tmp_path: Path, data: str) -> None:
    """By every function that writes one."""
    model, plan = tiny("llama"), tmp_path / "plan.yaml"
    plan.write_text("format: globalprune.plan/1\nlayers: {}\n")
    for call in (
        lambda: globalprune.apply(model, plan, model),
        lambda: globalprune.finetune(model, model, FinetuneOptions(data=(data,))),
        lambda: globalprune.prune(model, model, PruneOptions(0.1, data=data)),
    ):
        with pytest.raises(UsageError, match="is the model itself"):
            call()
