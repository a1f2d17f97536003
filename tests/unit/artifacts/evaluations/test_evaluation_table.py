"""The rows of a comparison: what is compared with what, and what isn't."""

from typing import Any

import pytest
from records import comparison_of, judged, model_result, speed_of

from globalprune.artifacts.evaluations.evaluation import Comparison, MetricResult, TaskResult
from globalprune.artifacts.evaluations.evaluation_table import MEMORY_NOISE, FigureRow, figure_rows


def row(comparison: Comparison, metric: str) -> FigureRow:
    """The row of one figure."""
    return next(found for found in figure_rows(comparison) if found.metric == metric)


def task(right: str, *, digest: str = "sha256:d", part_of: str | None = None) -> TaskResult:
    """A task of which these documents were answered rightly."""
    value = right.count("1") / len(right)
    found = MetricResult(value=value, standard_error=0.1, right=right)
    return TaskResult(
        metrics={"acc": found}, documents=len(right), document_digest=digest, part_of=part_of
    )


def test_counts_are_exact_and_compared_by_fraction() -> None:
    """Parameters, bytes on disk and bytes of cache have no noise."""
    found = comparison_of(model_result(), model_result(parameters=15_000_000))
    first, second = row(found, "parameters").cells
    assert (first.value, first.error, first.difference) == (20_000_000, None, None)
    assert (second.value, second.difference, second.difference_error) == (15_000_000, -0.25, None)


def test_every_difference_is_to_the_first_model() -> None:
    """Not to the neighbour."""
    counts = (20_000_000, 10_000_000, 5_000_000)
    found = comparison_of(*(model_result(parameters=count) for count in counts))
    assert [cell.difference for cell in row(found, "parameters").cells] == [None, -0.5, -0.75]


def test_memory_that_was_not_measured_makes_no_difference() -> None:
    """On either side; the noise of a measured one is that of the method."""
    unknown, known = model_result(peak_memory_bytes=None), model_result()
    for pair in ((unknown, known), (known, unknown)):
        assert row(comparison_of(*pair), "peak memory").cells[1].difference is None
    first, second = row(comparison_of(known, known), "peak memory").cells
    assert first.error == MEMORY_NOISE
    assert (second.difference, second.difference_error) == (0, 2**0.5 * MEMORY_NOISE)


def test_perplexity_is_compared_only_by_the_same_windows() -> None:
    """Paired by window; with other windows the figure stands alone."""
    same = model_result(perplexity=judged(21.0, 25.0, 23.0))
    other = model_result(perplexity=judged(21.0, 25.0, 23.0, windows="sha256:x"))
    cells = row(comparison_of(model_result(), same, other), "perplexity").cells
    assert cells[1].paired
    assert cells[1].difference == pytest.approx(cells[1].value - cells[0].value)  # type: ignore[operator]
    assert (cells[2].difference, cells[2].paired) == (None, False)
    assert cells[2].value == cells[1].value


@pytest.mark.parametrize(("digest", "paired"), [("sha256:d", True), ("sha256:e", False)])
def test_tasks_are_paired_by_the_same_documents(digest: str, *, paired: bool) -> None:
    """Otherwise the errors are added in quadrature, and the row says which."""
    models = (
        model_result(tasks={"arc": task("1100")}),
        model_result(tasks={"arc": task("1000", digest=digest)}),
    )
    _, cell = row(comparison_of(*models), "arc acc").cells
    assert (cell.difference, cell.paired) == (-0.25, paired)
    assert cell.difference_error == pytest.approx(0.25 if paired else 0.02**0.5)


def test_a_task_of_one_model_has_a_cell_for_the_other() -> None:
    """An empty one, in its own column."""
    found = comparison_of(model_result(tasks={"arc": task("10")}), model_result())
    first, second = row(found, "arc acc").cells
    assert (first.value, second.value, second.difference) == (0.5, None, None)


def test_parts_of_a_group_are_details() -> None:
    """Fifty-seven subjects would bury the one figure that they make up."""
    tasks = {"mmlu": task("10"), "mmlu_law": task("10", part_of="mmlu")}
    found = comparison_of(model_result(tasks=tasks))
    assert not row(found, "mmlu acc").detail
    assert row(found, "mmlu_law acc").detail


def test_speeds_are_compared_round_by_round() -> None:
    """A round that was slow for both says nothing against either."""
    models = (model_result(speed=speed_of(1.0, 3.0)), model_result(speed=speed_of(0.5, 1.5)))
    found = row(comparison_of(*models), "decode")
    assert found.relative
    assert found.cells[1].difference == pytest.approx(1.0)
    assert found.cells[1].difference_error == pytest.approx(0.0)
    assert found.cells[0].error == pytest.approx(41.8, rel=0.01)  # 1.25 · 47.1 / √2


def test_speeds_of_models_that_ran_alone_are_not_compared() -> None:
    """The machine may have been another by then."""
    models = [model_result(speed=speed_of(1.0, 1.0)), model_result(speed=speed_of(0.5, 0.5))]
    found = comparison_of(*models)
    settings: Any = found.settings
    alone = settings.model_copy(
        update={"speed": settings.speed.model_copy(update={"interleaved": False})}
    )
    cells = row(found.model_copy(update={"settings": alone}), "decode").cells
    assert [cell.value for cell in cells] == [100.0, 200.0]
    assert cells[1].difference is None


def test_without_speed_there_are_no_rows_of_it() -> None:
    """Nor any of tasks that nobody asked."""
    metrics = [found.metric for found in figure_rows(comparison_of(model_result()))]
    assert metrics == ["parameters", "file", "KV cache per token", "peak memory", "perplexity"]
