"""What is tried at the end of an analysis, whatever was measured of which model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from analysing import write_ids
from tiny_models import random_ids

from globalprune.analysis.analyzer import analyze_model
from globalprune.artifacts.analyses.analysis import AnalysisRecord, read_analysis
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import AnalyzeOptions, PlanOptions
from globalprune.pipeline.analyze import candidates_at
from globalprune.planning.write import write_plans

Tiny = Callable[[str], Path]


def tried(model: Path, folder: Path, ratio: float, **options: Any) -> AnalysisRecord:
    """The record of an analysis that tries its plan of that ratio."""
    data = options.pop("data", None) or write_ids(folder / "ids.jsonl", tuple(random_ids(9, 12)))
    candidates = options.pop("candidates", candidates_at(ratio))
    chosen = AnalyzeOptions(data=data, overwrite=True, **options)
    out = folder / "analysis"
    return analyze_model(PreparedModel(model), out, chosen, candidates=candidates)


@pytest.mark.parametrize("family", ["olmo2", "qwen3_moe", "llama"])
def test_the_first_plan_is_tried_beside_other_cuts(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """A kind that can't be cut is no candidate; a mixture's channels are masked too."""
    record = tried(tiny(family), tmp_path, 0.2)
    trial = record.trial
    (written,) = write_plans(read_analysis(tmp_path / "analysis"), PlanOptions((0.2,)))

    assert trial is not None
    assert trial.plan.parameters == written.effect.removed
    assert trial.candidates[-1].name == "random"
    assert {one.name for one in trial.candidates} >= {"plan", "random"}
    assert ("attention" in {one.name for one in trial.candidates}) == (family != "olmo2")
    assert all(one.loss != trial.loss for one in trial.candidates)
    assert (trial.unused, trial.windows) == (False, 6)  # all rows were measured with
    assert not trial.doubted


@pytest.mark.parametrize("ratio", [0.0, 0.9])
def test_without_a_first_plan_a_modest_one_is_tried(
    tiny: Tiny, tmp_path: Path, ratio: float
) -> None:
    """Of the measured layers, at most a tenth of all parameters; the rest stays as measured."""
    record = tried(tiny("llama"), tmp_path, ratio, layers="1:3")

    assert record.trial is not None
    assert 0 < record.trial.ratio <= 0.105


def test_of_what_a_plan_leaves_the_trial_takes_more(tiny: Tiny, tmp_path: Path) -> None:
    """The model without what is decided is what the next plan is held against, bit for bit."""
    tried(tiny("llama"), tmp_path, 0.1)
    write_plans(read_analysis(tmp_path / "analysis"), PlanOptions((0.1,)))
    plan = (tmp_path / "analysis" / "plan.yaml").rename(tmp_path / "plan.yaml")
    first, again = (tried(tiny("llama"), tmp_path, 0.25, prior_plan=plan).trial for _ in range(2))
    nothing_more = tried(tiny("llama"), tmp_path, 0.05, prior_plan=plan).trial

    assert first is not None
    assert nothing_more is not None
    assert first == again
    assert first.ratio >= 0.25
    assert all(one.parameters >= first.plan.parameters for one in first.candidates)
    assert nothing_more.ratio > 0.1  # a plan that removes no more than is gone tells nothing


def test_nothing_is_tried_unless_candidates_are_handed_in(tiny: Tiny, tmp_path: Path) -> None:
    """Measuring alone costs no more than measuring."""
    assert tried(tiny("llama"), tmp_path, 0.2, candidates=None).trial is None
