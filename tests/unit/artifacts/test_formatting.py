"""Digits end where the noise begins."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import text_record

from globalprune.artifacts.formatting import (
    code_literal,
    count_of_groups,
    decimals_for,
    describe_model,
    describe_text,
    escape_markdown,
    first_few,
    format_bytes,
    format_with_error,
    markdown_code,
    short_repr,
)


def test_a_text_is_named_with_its_windows() -> None:
    """What stands in its record, as far as it says anything; another name may stand for it."""
    text = text_record(
        source="a.txt",
        samples=1,
        seq_len=512,
        stride=None,
        predicted_tokens=511,
        seed=None,
        bos=False,
    )
    assert describe_text(text) == "1 window of 512 tokens of a.txt, 511 predicted tokens"
    ragged = text.model_copy(update={"samples": 1200, "seq_len": None})
    more = ragged.model_copy(update={"seed": 3, "bos": True, "stride": 256})
    assert describe_text(ragged, "`a`").startswith("1,200 windows of their own length of `a`, ")
    assert describe_text(more).endswith(" predicted tokens, stride 256, seed 3, BOS first")


def test_models_and_groups_have_one_wording() -> None:
    """A revision behind the name; a single group is no plural."""
    assert describe_model("org/model", "main") == "org/model@main"
    assert describe_model("folder", None) == "folder"
    assert count_of_groups(1, "attention") == "1 attention group"
    assert count_of_groups(2048, "mlp") == "2,048 mlp channels"


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (25.3412, 0.0123, "25.341 ± 0.012"),
        (25.3412, 0.0234, "25.34 ± 0.02"),
        (25.3412, 0.0951, "25.34 ± 0.10"),
        (25.3412, 0.96, "25.3 ± 1.0"),
        (25.3412, 2.0, "25 ± 2"),
        (1234.5, 17.0, "1,234 ± 17"),
        (1254.5, 230.0, "1,300 ± 200"),
        (0.00123, 0.0004, "0.0012 ± 0.0004"),
        (3.0, 40.0, "0 ± 40"),
        (-0.01, 0.3, "0.0 ± 0.3"),
    ],
    ids=str,
)
def test_a_value_is_cut_at_its_error(value: float, error: float, said: str) -> None:
    """At its first digit, at the second where it begins with 1."""
    assert format_with_error(value, error) == said


@pytest.mark.parametrize("error", [None, 0.0, math.nan, math.inf], ids=str)
def test_without_an_error_three_digits_are_shown(error: float | None) -> None:
    """What nobody knows the noise of is never spelled out; small and large alike."""
    said = [format_with_error(value, error) for value in (0.0, 0.0123456, 12.3456, 123456.0)]
    assert said == ["0", "0.0123", "12.3", "123,000"]


def test_a_difference_shows_its_direction() -> None:
    """A difference of nothing goes up by nothing; no figure is a negative zero."""
    said = [format_with_error(value, 0.2, signed=True) for value in (1.26, -1.26, 0.0, -0.01)]
    assert said == ["+1.3 ± 0.2", "-1.3 ± 0.2", "+0.0 ± 0.2", "0.0 ± 0.2"]


def test_what_no_float_holds_is_said() -> None:
    """It is no number with digits."""
    assert format_with_error(math.inf, None) == "beyond any number"


@given(st.floats(1e-9, 1e9), st.floats(-1e9, 1e9))
def test_rounding_never_moves_a_value_by_sublayer_its_error(error: float, value: float) -> None:
    """Digits that matter are kept, whatever the scale: the step is below the error itself."""
    step = 10.0 ** -decimals_for(error)
    assert step <= error * (1 + 1e-9)
    assert step > error / 20 * (1 - 1e-9)
    assert abs(round(value, decimals_for(error)) - value) <= error / 2 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (269_060_000, "269.1 MB"), (5e15, "5000.0 TB")],
    ids=str,
)
def test_bytes_have_a_unit_that_fits(count: int, said: str) -> None:
    """And the largest unit is never left."""
    assert format_bytes(count) == said


@pytest.mark.parametrize(
    "name",
    [
        "x`<img src=x onerror=alert(1)>`y",
        "[click](javascript:alert(1))",
        "mit\n\n# Injected\n<script>",
        "a | b",
        "![x](y) &lt;",
    ],
)
def test_no_name_is_markup(name: str) -> None:
    """On one line, without a tag, a link, a heading or the end of a cell."""
    for shown in (escape_markdown(name), markdown_code(name)):
        assert "\n" not in shown
        assert "<" not in shown
        assert "|" not in shown.replace("\\|", "")
        assert shown.startswith("`") or "[" not in shown.replace("\\[", "")
    assert "<" not in code_literal(name)
    assert eval(code_literal(name)) == name  # noqa: S307 - our own spelling


def test_plain_names_are_shown_plainly() -> None:
    """Nothing is escaped that need not be."""
    assert markdown_code("org/model_2-v1.5") == "`org/model_2-v1.5`"
    assert escape_markdown("arc_easy (3 shots), 5.2 ± 0.1") == "arc_easy (3 shots), 5.2 ± 0.1"
    assert escape_markdown("- x") == r"\- x"


def test_many_names_are_cut_short() -> None:
    """The first few, and how many more there are."""
    assert first_few("abc") == "a, b, c"
    assert first_few("abcdefg") == "a, b, c, d, e and 2 more"
    assert first_few("abc", 2, "; ") == "a; b and 1 more"
    assert short_repr("abc") == "'abc'"
    assert short_repr([0] * 99, 6) == "[0, 0,…"
