"""The comparison as people read it."""

import pytest
from records import comparison_of, judged, model_result, speed_of

from globalprune.artifacts.evaluations.evaluation import MetricResult, ModelResult, TaskResult
from globalprune.cli.result_text import evaluation_text


def lines_of(*results: ModelResult) -> dict[str, list[str]]:
    """The table of these models: the words of each row's lines, by the row's name."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in evaluation_text(comparison_of(*results)).splitlines()[2:]:
        if not line.strip():
            break
        if not line.startswith("  "):
            name, _, rest = line.strip().partition("  ")
            found[name] = [rest.strip()]
        else:
            found[name].append(line.strip())
    return found


def test_models_are_columns_and_the_first_is_the_baseline() -> None:
    """Others say under each figure how far it moved; a figure of none is not made up."""
    before = model_result("before")
    after = model_result("after", parameters=15_000_000, peak_memory_bytes=None)
    found = lines_of(before, after)
    assert evaluation_text(comparison_of(before, after)).splitlines()[0].split() == [
        "before",
        "after",
    ]
    assert found["parameters"][0].split() == ["20,000,000", "15,000,000"]
    assert found["parameters"][1] == "-25.0 %"
    [memory] = found["peak memory"]
    assert memory.split("   ")[0] == "1.23 ± 0.02 GB"
    assert memory.endswith("not measured")


def test_no_figure_has_more_digits_than_its_noise() -> None:
    """Perplexity to its error, and the paired difference to its own, smaller one."""
    other = model_result("after", perplexity=judged(21.0, 25.1, 23.0))
    value, moved = lines_of(model_result("before"), other)["perplexity"]
    assert value.split("    ")[0].strip() == "9.0 ± 1.0"
    assert moved == "+0.98 ± 0.14"


def test_a_difference_of_unknown_noise_is_not_shown() -> None:
    """Of a single window nobody knows whether the difference is more than chance."""
    before, after = (
        model_result(name, perplexity=judged(nll)) for name, nll in (("a", 9), ("b", 8))
    )
    [line] = lines_of(before, after)["perplexity"]
    assert line.split() == ["2.46", "2.23"]


def test_speeds_have_their_units_and_spread() -> None:
    """Rates in tokens a second, times in milliseconds, differences in percent."""
    found = lines_of(
        model_result("before", speed=speed_of(1.0, 1.1)),
        model_result("after", speed=speed_of(0.5, 0.5)),
    )
    assert found["decode, tokens/s"][0].startswith("95 ± 6")
    assert found["decode, tokens/s"][1] == "+110 ± 13 %"
    assert found["time to first token"][0].startswith("1,050 ± 60 ms")


@pytest.mark.parametrize("part_of", [None, "mmlu"])
def test_parts_of_a_group_stay_out_of_the_table(part_of: str | None) -> None:
    """They are in the CSV; the group's own figure stands for them."""
    law = TaskResult(
        metrics={"acc": MetricResult(value=0.25, standard_error=0.03)},
        documents=100,
        part_of=part_of,
    )
    found = lines_of(model_result(tasks={"law": law}))
    assert found.get("law acc") == (None if part_of else ["0.25 ± 0.03"])


def test_figures_carry_what_they_were_measured_with() -> None:
    """Without text, windows and precision no figure can be compared with another run's."""
    said = evaluation_text(comparison_of(model_result()))

    assert "text: 1 window of 8 tokens of test, 7 predicted tokens" in said
    assert "float32 on cpu (a processor, 2 threads), the KV cache too, batch size 1" in said
    assert "± is the standard error" in said


def test_a_single_window_says_that_it_is_no_proof() -> None:
    """Else a table without errors would pass for an exact one."""
    said = "one window tells no error of perplexity"
    assert said in evaluation_text(comparison_of(model_result(perplexity=judged(20.0))))
    assert said not in evaluation_text(comparison_of(model_result()))
