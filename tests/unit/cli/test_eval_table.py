"""The comparison as people read it."""

import pytest
from records import text_record

from globalprune.cli.eval_table import UNKNOWN, render, size
from globalprune.evaluate.comparison import Comparison
from globalprune.evaluate.measurement import ModelResult


def result_of(source: str, parameters: int, memory: int | None, calls: int = 8) -> ModelResult:
    """One model's figures."""
    return ModelResult(
        source=source,
        parameters=parameters,
        file_bytes=4 * parameters,
        perplexity=parameters / 1e6,
        nll_sum=1.0,
        predicted_tokens=7,
        windows="sha256:1",
        tokens_per_second=100.0,
        timed_calls=calls,
        peak_memory_bytes=memory,
        dtype="float32",
    )


def table_of(*results: ModelResult) -> str:
    """The table of these models."""
    return render(
        Comparison(models=results, text=text_record(), batch_size=1, device="cpu", versions={})
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (269_060_000, "269.1 MB"), (5e15, "5000.0 TB")],
)
def test_bytes_have_a_unit_that_fits(count: int, said: str) -> None:
    """Three digits or so, and the largest unit is never left."""
    assert size(count) == said


def test_the_first_model_is_the_baseline() -> None:
    """Others say how far each figure moved from it, in percent; a figure of none is not made up."""
    said = table_of(result_of("before", 20_000_000, 10**9), result_of("after", 15_000_000, None))
    before, after, moved = said.splitlines()[2:5]

    assert before.split()[:4] == ["before", "20,000,000", "80.0", "MB"]
    assert after.split()[:2] == ["after", "15,000,000"]
    assert after.endswith(UNKNOWN)
    assert moved.split() == ["-25.0", "%", "-25.0", "%", "-25.0", "%", "+0.0", "%"]


def test_figures_carry_what_they_were_measured_with() -> None:
    """Without text, windows and precision no figure can be compared with another run's."""
    said = table_of(result_of("before", 1, 1))

    assert "text test: 1 windows of 8 tokens, 7 predicted tokens" in said
    assert "float32 on cpu, batch size 1; perplexity weighted by token" in said


def test_a_speed_of_few_calls_makes_no_difference() -> None:
    """The best of two calls is luck; the figure is shown, and no percentage of it."""
    said = table_of(result_of("before", 8, 1, calls=2), result_of("after", 8, 1, calls=9))

    assert said.splitlines()[4].split() == ["+0.0", "%"] * 4
