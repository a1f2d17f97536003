"""Drawings have the page's ink, no name of a tool, and ids of their own."""

from globalprune.report.drawing import draw_plot, sublayer_axes, with_unique_ids


def test_ink_is_the_text_colour_of_the_page() -> None:
    """So that it reads on light and dark; nothing lies behind it."""
    (drawn,) = draw_plot(
        "a caption", lambda figure: sublayer_axes(figure, (0, 1))["mlp"].plot([1, 2])
    )

    assert drawn.caption == "a caption"
    assert drawn.svg.startswith("<svg ")
    assert drawn.svg.endswith("</svg>")
    assert "currentColor" in drawn.svg
    assert "#010203" not in drawn.svg
    assert "#ffffff" not in drawn.svg
    assert "<metadata" not in drawn.svg
    assert ">MLP</text>" in drawn.svg


def test_only_what_is_referred_to_keeps_an_id() -> None:
    """With a prefix, in the id and wherever it is used."""
    svg = (
        '<g id="axes_1"><path id="m1"/><use xlink:href="#m1"/><g clip-path="url(#p2)"/></g>'
        '<clipPath id="p2"/>'
    )

    assert with_unique_ids(svg, "p7") == (
        '<g><path id="p7-m1"/><use xlink:href="#p7-m1"/><g clip-path="url(#p7-p2)"/></g>'
        '<clipPath id="p7-p2"/>'
    )
