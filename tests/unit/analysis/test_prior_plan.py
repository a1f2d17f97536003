"""`gp analyze --given`: what a plan leaves standing is what is measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from command_line import gp, refused
from compensating import ids_file
from cutting import Removals, write_removals

import globalprune
from globalprune.analysis.analyzer import analyze_model
from globalprune.artifacts.analyses.analysis import Analysis, read_analysis
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.models.prepared_model import PreparedModel
from globalprune.obs.trials import trial_counts
from globalprune.options import AnalyzeOptions, ApplyOptions, PlanOptions
from globalprune.planning.write import write_plans

Tiny = Callable[[str], Path]
GONE: Removals = {1: {"mlp": [0, 3, 7]}, 2: {"attention": [1]}}
METHODS = ("fisher", "taylor", "wanda", "obs", "obs_measured")


def measured(model: Path, folder: Path, **how: Any) -> Analysis:
    """Analyse on rows of ids."""
    data = ids_file(folder / "text")
    options = AnalyzeOptions(data=str(data), importances=METHODS, **how)
    analyze_model(PreparedModel(model), folder / "out", options)
    return read_analysis(folder / "out")


@pytest.mark.parametrize("compensating", [False, True], ids=["cut", "compensated"])
def test_what_is_gone_is_worth_nothing(tiny: Tiny, tmp_path: Path, compensating: bool) -> None:
    """By every method, and nothing else is, so that the next plan removes it first."""
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    analysis = measured(tiny("qwen2"), tmp_path, prior_plan=plan, compensate=compensating)
    gone = {(1, "mlp", 0), (1, "mlp", 3), (1, "mlp", 7), (2, "attention", 1)}
    for name in METHODS:
        table = analysis.table.rescored(name)
        worthless = {
            (layer, kind, index)
            for (layer, kind), rows in table.sublayers.items()
            for index, worth in enumerate(table.importances[name][rows])
            if worth == 0
        }
        assert worthless == gone
    given = analysis.record.given
    assert given is not None
    assert given.compensated == compensating
    (written,) = write_plans(analysis, PlanOptions((0.2,), overwrite=True))
    again = read_plan(written.path)
    assert set(again.layers[1].mlp.resolved(99)) >= {0, 3, 7}
    assert set(again.layers[2].attention.resolved(3).to_array()) >= {1}


EMPTY: Removals = {1: {"attention": range(3)}, 2: {"attention": range(3), "mlp": range(24)}}


@pytest.mark.parametrize("compensating", [False, True], ids=["cut", "compensated"])
def test_a_sublayer_may_be_gone_whole(tiny: Tiny, tmp_path: Path, compensating: bool) -> None:
    """A layer too: what is left of the model is measured, and none of it comes back."""
    plan = write_removals(tmp_path / "plan.yaml", EMPTY)
    analysis = measured(tiny("qwen2"), tmp_path, prior_plan=plan, compensate=compensating)
    for name in METHODS:
        table = analysis.table.rescored(name)
        for sublayer, rows in table.sublayers.items():
            gone = sublayer in {(1, "attention"), (2, "attention"), (2, "mlp")}
            assert bool((table.importance[rows] == 0).all()) == gone


@pytest.mark.parametrize("compensating", [False, True], ids=["cut", "compensated"])
def test_the_rest_is_measured_as_the_applied_model_would_be(
    tiny: Tiny, tmp_path: Path, compensating: bool
) -> None:
    """Importances of what stands are those of the model that gp apply writes."""
    model = tiny("llama")
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    analysis = measured(model, tmp_path / "given", prior_plan=plan, compensate=compensating)
    data = tmp_path / "given" / "text" / "rows.parquet"
    request = CompensationRequest(data=str(data)) if compensating else None
    cut = tmp_path / "cut"
    globalprune.apply(model, plan, cut, ApplyOptions(compensation=request))
    direct = measured(cut, tmp_path / "direct")
    for name in ("fisher", "taylor"):
        ours = analysis.table.rescored(name).importance
        theirs = direct.table.rescored(name).importance
        standing = torch.tensor(ours[ours > 0]).sort().values
        torch.testing.assert_close(
            standing, torch.tensor(theirs).sort().values, rtol=2e-3, atol=1e-9
        )


def test_curves_lie_beside_the_table_and_go_with_it(tiny: Tiny, tmp_path: Path) -> None:
    """Only obs has an order; an analysis without one leaves no curves of another behind."""
    data = ids_file(tmp_path / "text")
    common = ("analyze", tiny("llama"), "-o", tmp_path / "a", "--data", data, "--ratio", 0.1)
    assert gp(*common, "--importance", "obs").code == 0
    curves = pyarrow.parquet.read_table(tmp_path / "a" / "curves.parquet")
    assert curves.column_names == [
        "layer_idx", "group_type", "removed_groups", "group_idx", "removed_params",
        "predicted_nats", "measured_nats",
    ]  # fmt: skip
    frame = curves.to_pandas()
    for _sublayer, rows in frame.groupby(["layer_idx", "group_type"], observed=True):
        assert rows.removed_groups.tolist() == list(range(1, len(rows) + 1))
        assert rows.predicted_nats.is_monotonic_increasing
    assert "assumes: compensation" in (tmp_path / "a" / "plan.yaml").read_text("utf-8")
    assert gp(*common, "--importance", "fisher", "--overwrite").code == 0
    assert not (tmp_path / "a" / "curves.parquet").exists()


def test_trials_are_in_the_curves(tiny: Tiny, tmp_path: Path) -> None:
    """Where something was tried; the importances add up to it, but for ranks that must not fall."""
    data = ids_file(tmp_path / "text")
    analysis = tmp_path / "a"
    done = gp("analyze", tiny("llama"), "-o", analysis, "--data", data, "--ratio", 0.1,
              "--importance", "obs_measured")  # fmt: skip
    assert done.code == 0, done.err
    frame = pyarrow.parquet.read_table(analysis / "curves.parquet").to_pandas()
    table = pyarrow.parquet.read_table(analysis / "groups.parquet").to_pandas()
    for (layer, kind), rows in frame.groupby(["layer_idx", "group_type"], observed=True):
        measured = rows[rows.measured_nats.notna()]
        losses = torch.tensor(rows.predicted_nats.tolist()).diff(prepend=torch.zeros(1))
        assert measured.removed_groups.tolist() == trial_counts(losses)
        last = measured.iloc[-1]
        taken = rows.group_idx[: last.removed_groups]
        sublayer = table[(table.layer_idx == layer) & (table.group_type == kind)]
        found = sublayer[sublayer.group_idx.isin(taken)].importance.sum()
        assert last.measured_nats * (1 - 1e-9) <= found <= last.measured_nats * 1.5
    refused(
        gp("analyze", tiny("llama"), "-o", tmp_path / "b", "--data", data, "--samples", 1,
           "--importance", "obs_measured"),
        "--importance obs_measured: a single window of text can't be both fitted to and validated",
    )  # fmt: skip
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    refused(
        gp("analyze", tiny("llama"), "-o", tmp_path / "b", "--data", data, "--samples", 1,
           "--given", plan, "--compensate"),
        "compensation: a single window of text can't be both fitted to and validated on",
    )  # fmt: skip


def test_compensation_without_a_plan_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """There is nothing to compensate."""
    done = gp("analyze", tiny("llama"), "-o", tmp_path / "a", "--compensate")
    refused(done, "--compensate: is for a plan that is given; say --given PLAN too")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--gate-steps", 1), "--gate-steps: is for --compensate; say that too, or leave it out"),
        (("--compensate", "--gate-steps", -1), "--gate-steps -1: can't be negative"),
    ],
    ids=["not compensated", "negative"],
)
def test_steps_that_cannot_be_taken_are_refused(
    tiny: Tiny, tmp_path: Path, words: tuple[str | int, ...], text: str
) -> None:
    """Before anything is read; nothing is left."""
    plan = write_removals(tmp_path / "plan.yaml", {1: {"mlp": [0]}})
    done = gp("analyze", tiny("llama"), "-o", tmp_path / "a", "--given", plan, *words)
    refused(done, text)
    assert not (tmp_path / "a").exists()


def test_a_plan_of_another_structure_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Before anything is loaded or written, by the path of the field."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [999]}})
    done = gp("analyze", tiny("llama"), "-o", tmp_path / "a", "--given", plan)
    refused(done, "layers.0.mlp: 999 is out of range")
    assert not (tmp_path / "a").exists()
