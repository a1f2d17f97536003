"""By which column and which normaliser a plan ranks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analyses import analysis_of, saved_analysis, structure_of

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    Scoring,
    read_analysis,
    scored_table,
    scoring_of,
    write_analysis_record,
)
from globalprune.artifacts.plans.plan import Target
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.errors import UsageError
from globalprune.options import PlanOptions
from globalprune.planning.planner import make_plan
from globalprune.planning.review import review_plan
from globalprune.planning.write import write_plans

STRUCTURE = structure_of()


def normalising(analysis: Analysis) -> Analysis:
    """The analysis of a method `other` that has no unit of loss and a normaliser."""
    changes = {"incomparable": ("other",), "normalisers": {"other": "mean"}}
    return replace(analysis, record=analysis.record.model_copy(update=changes))


@pytest.mark.parametrize(
    ("importance", "normaliser", "expected"),
    [
        (None, None, Scoring("mine", "none")),
        ("other", None, Scoring("other", "mean")),
        ("other", "none", Scoring("other", "none")),
        (None, "rank", Scoring("mine", "rank")),
        ("my own", None, Scoring("my own", "none")),
    ],
    ids=["the table's", "another", "another raw", "another normaliser", "one's own"],
)
def test_the_analysis_says_what_a_person_does_not(
    importance: str | None, normaliser: str | None, expected: Scoring
) -> None:
    """Every importance brings its own normaliser along."""
    record = normalising(analysis_of(STRUCTURE)).record
    assert scoring_of(record, importance, normaliser) == expected


def test_only_another_scoring_makes_another_table() -> None:
    """The table of the analysis is ranked as it stands."""
    analysis = normalising(analysis_of(STRUCTURE))
    assert scored_table(analysis, Scoring("mine", "none")) is analysis.table
    table = scored_table(analysis, Scoring("other", "mean"))
    for rows in table.sublayers.values():
        assert float(table.score[rows].mean()) == pytest.approx(1)
    raw = analysis.table.rescored("other")
    assert sorted(table.importances["other"]) == sorted(raw.importance)


def test_a_plan_names_its_normaliser_and_none_by_silence(tmp_path: Path) -> None:
    """So that gp check can count by the same scores."""
    analysis = normalising(saved_analysis(tmp_path, STRUCTURE))
    write_analysis_record(tmp_path / ANALYSIS_FILE, analysis.record)
    (raw,) = write_plans(analysis, PlanOptions((0.2,)), tmp_path / "raw.yaml")
    (mean,) = write_plans(analysis, PlanOptions((0.2,), importance="other"), tmp_path / "mean.yaml")
    assert "normaliser" not in raw.path.read_text("utf-8")
    assert "  normaliser: mean\n" in mean.path.read_text("utf-8")
    reference = read_plan(mean.path).analysis
    assert reference is not None
    assert (reference.importance, reference.normaliser) == ("other", "mean")
    known = review_plan(mean.path).figures
    assert known is not None
    assert known.importance.scoring == Scoring("other", "mean")
    assert known.importance.total == pytest.approx(
        sum(sublayer.prunable for *_, sublayer in STRUCTURE.sublayers())
    )


def test_edits_are_found_by_the_plans_own_normaliser(tmp_path: Path) -> None:
    """What gp plan wrote is made again as it was asked for, not as the analysis would have it."""
    analysis = normalising(saved_analysis(tmp_path, structure_of(((2, 9), (2, 9))), seed=3))
    write_analysis_record(tmp_path / ANALYSIS_FILE, analysis.record)
    for normaliser in ("none", "rank"):
        (written,) = write_plans(
            analysis,
            PlanOptions((0.4,), importance="other", normaliser=normaliser),
            tmp_path / f"{normaliser}.yaml",
        )
        text = written.path.read_text("utf-8")
        head, _, layers = text.partition("layers:\n")
        written.path.write_text(head + "layers:\n" + layers.split("\n", 1)[1], "utf-8")
        edits = review_plan(written.path).edits
        assert edits is not None
        assert {edit.layer_idx for edit in edits} == {0}


@pytest.mark.parametrize(
    ("normaliser", "doubted"), [(None, False), ("rank", False), ("none", True)], ids=str
)
def test_only_raw_scores_without_a_unit_of_loss_are_doubted(
    normaliser: str | None, *, doubted: bool
) -> None:
    """A normaliser is what the note asks for."""
    notes = make_plan(
        normalising(analysis_of(STRUCTURE)),
        Target(ratio=0.2),
        importance="other",
        normaliser=normaliser,
    ).warnings
    assert [("--normaliser mean" in note) for note in notes] == [True] * doubted


def test_an_analysis_from_before_normalisers_means_what_it_meant(tmp_path: Path) -> None:
    """Raw importances, and the note where they don't compare."""
    analysis = saved_analysis(tmp_path, STRUCTURE)
    old = analysis.record.model_copy(update={"incomparable": ("other",)})
    write_analysis_record(tmp_path / ANALYSIS_FILE, old)
    text = (tmp_path / ANALYSIS_FILE).read_text("utf-8")
    (tmp_path / ANALYSIS_FILE).write_text(text.replace('"normalisers": {},', ""), "utf-8")
    assert '"normalisers"' not in (tmp_path / ANALYSIS_FILE).read_text("utf-8")
    read = read_analysis(tmp_path)
    planned = make_plan(read, Target(ratio=0.2), importance="other")
    reference = planned.plan.analysis
    assert reference is not None
    assert reference.normaliser is None
    assert planned.warnings[0].startswith("other is not comparable between layers")
    assert np.array_equal(
        scored_table(read, scoring_of(read.record, "other")).importance,
        read.table.rescored("other").importance,
    )


def test_an_unknown_normaliser_stops_before_anything_is_written(tmp_path: Path) -> None:
    """With the ones that there are."""
    analysis = saved_analysis(tmp_path, STRUCTURE)
    with pytest.raises(UsageError, match=r"--normaliser: half is not known; there are none, mean"):
        write_plans(analysis, PlanOptions((0.2,), normaliser="half"))
    assert not (tmp_path / "plan.yaml").exists()
