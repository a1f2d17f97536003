"""What is told of an analysis: what was measured, how sure it is, and where importance lies."""

import numpy as np
from analyses import analysis_of, structure_of

from globalprune.artifacts.analyses.loss_curves import Curves
from globalprune.artifacts.analyses.reliability import Reliability, SharedCut
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.report.analysis import analysis_subsection
from globalprune.report.blocks import Plot, Subsection, Table

STRUCTURE = structure_of(((2, 8), (2, 8), (2, 8)))


def tables_of(part: Subsection) -> list[Table]:
    """Its tables, in order."""
    return [block for block in part.blocks if isinstance(block, Table)]


def captions_of(part: Subsection) -> list[str]:
    """What stands under its pictures."""
    return [block.caption for block in part.blocks if isinstance(block, Plot)]


def test_importance_and_scores_are_those_of_the_table() -> None:
    """A row for every sublayer: its part of the sum, and the scores of its groups."""
    analysis = analysis_of(STRUCTURE)
    (table,) = tables_of(analysis_subsection(analysis.record, analysis.table))
    rows = analysis.table.sublayers[1, "mlp"]
    share = analysis.table.importance[rows].sum() / analysis.table.importance.sum()
    low, median, high = np.quantile(analysis.table.score[rows], (0.1, 0.5, 0.9))

    assert len(table.rows) == 6
    assert table.rows[3] == (
        "1 MLP", "8", f"{100 * share:.2f} %", f"{low:.3g}", f"{median:.3g}", f"{high:.3g}"
    )  # fmt: skip


def test_layers_that_were_not_measured_have_no_figures() -> None:
    """Their rows are there."""
    analysis = analysis_of(STRUCTURE, layers=range(1, 3))
    part = analysis_subsection(analysis.record, analysis.table)

    assert tables_of(part)[0].rows[0] == ("0 attention", "2", "not known", "", "", "")
    assert ("layers", "1:3 of 3") in part.blocks[0].rows  # type: ignore[union-attr]


def test_how_sure_it_is_is_a_table() -> None:
    """An importance a row, a ratio a column."""
    analysis = analysis_of(STRUCTURE)
    found = {
        "mine": Reliability(
            rank_correlation=0.9512,
            cuts=(SharedCut(ratio=0.1, shared=0.5), SharedCut(ratio=0.2, shared=0.75)),
        ),
        "other": Reliability(rank_correlation=0.5, cuts=()),
    }
    record = analysis.record.model_copy(update={"reliability": found})
    sure, _ = tables_of(analysis_subsection(record, analysis.table))

    assert sure.head[2:] == ("cuts of 10 % share", "cuts of 20 % share")
    assert sure.rows == (("mine", "0.951", "50 %", "75 %"), ("other", "0.500", "", ""))


def test_a_record_alone_is_told_without_pictures() -> None:
    """A result that gp apply wrote has no table."""
    analysis = analysis_of(STRUCTURE)
    part = analysis_subsection(analysis.record, None)

    assert captions_of(part) == []
    assert tables_of(part) == []


def curves_of(*measured: float) -> Curves:
    """The curves of two sublayers of four groups each."""
    return Curves(
        layer_idx=np.zeros(8, np.int32),
        group_type=np.repeat(np.arange(2), 4),
        removed_groups=np.tile(np.arange(1, 5, dtype=np.int32), 2),
        group_idx=np.tile(np.arange(4, dtype=np.int32), 2),
        removed_params=np.tile(np.arange(10, 50, 10), 2),
        predicted_nats=np.linspace(0.1, 0.8, 8),
        measured_nats=np.asarray(measured),
    )


def test_trials_stand_beside_what_was_predicted() -> None:
    """Every trial, and the middle of every order; a loss that fell is in the table alone."""
    analysis = analysis_of(STRUCTURE)
    nan = float("nan")
    curves = curves_of(nan, 0.25, nan, nan, nan, nan, nan, -0.125)
    part = analysis_subsection(analysis.record, analysis.table, curves)

    assert tables_of(part)[1].rows == (
        ("0 attention", "2 of 4", "20", "0.2", "0.25"),
        ("0 attention", "3 of 4", "30", "0.3", ""),
        ("0 MLP", "3 of 4", "30", "0.7", ""),
        ("0 MLP", "4 of 4", "40", "0.8", "-0.125"),
    )
    assert [caption.partition(":")[0] for caption in captions_of(part)[3:]] == ["Trial removals"]
    assert len(GROUP_TYPES) == 2


def test_without_trials_only_predictions_are_drawn() -> None:
    """An empty field would say nothing."""
    analysis = analysis_of(STRUCTURE)
    part = analysis_subsection(analysis.record, analysis.table, curves_of(*[float("nan")] * 8))

    assert captions_of(part)[2].startswith("Predicted loss as groups go")
    assert len(captions_of(part)) == 3


def test_shares_along_an_order_are_explained() -> None:
    """Where an importance counts on those before it being gone."""
    analysis = analysis_of(STRUCTURE)
    record = analysis.record.model_copy(update={"compensated": ("mine",)})

    assert (
        "is worth what all before it hid"
        in captions_of(analysis_subsection(record, analysis.table))[0]
    )
