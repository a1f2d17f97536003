"""Names in Markdown are text."""

import pytest

from globalprune.artifacts.markdown import code, plain, string_literal


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
    for shown in (plain(name), code(name)):
        assert "\n" not in shown
        assert "<" not in shown
        assert "|" not in shown.replace("\\|", "")
        assert shown.startswith("`") or "[" not in shown.replace("\\[", "")
    assert "<" not in string_literal(name)
    assert eval(string_literal(name)) == name  # noqa: S307 - our own spelling


def test_plain_names_are_shown_plainly() -> None:
    """Nothing is escaped that need not be."""
    assert code("org/model_2-v1.5") == "`org/model_2-v1.5`"
    assert plain("arc_easy (3 shots), 5.2 ± 0.1") == "arc_easy (3 shots), 5.2 ± 0.1"
    assert plain("- x") == r"\- x"
