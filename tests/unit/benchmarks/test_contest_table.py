"""The page of tables."""

from contest.figures import rows_of
from contest.table import against_peers, markdown, matrix, perplexities
from contest_parts import part_of, question_of

PARTS = [
    part_of("dense", (2.0, 2.0), removed=0),
    part_of("flap", (2.9, 3.1)),
    part_of("flap", (3.9, 4.1), ratio=0.4),
    part_of("prune:fast", (2.4, 2.6)),
]


def test_perplexities_stand_by_recipe_and_ratio_under_the_dense_models() -> None:
    """In brackets what is above the dense model; a dash where nothing was measured."""
    assert perplexities(rows_of(PARTS), "other").splitlines() == [
        "| recipe | 20 % | 40 % |",
        "| --- | ---: | ---: |",
        "| dense | 7.39 | 7.39 |",
        "| flap | 20.09 (+12.70) | 54.60 (+47.21) |",
        "| prune:fast | 12.18 (+4.79) | – |",
    ]


def test_ours_stand_beside_the_best_peer() -> None:
    """Excess, the peer's excess, their factor, and the paired difference of ln PPL."""
    lines = against_peers(rows_of(PARTS)).splitlines()

    assert lines[2] == (
        "| prune:fast | 20 % | strided | 4.79 | flap | 12.70 | 0.38 | -0.5000 ± 0.0000 |"
    )
    assert len(lines) == 2 + 3  # a line for each text


def test_without_ours_there_is_nothing_to_compare() -> None:
    """And no table of it."""
    assert against_peers(rows_of(PARTS[:3])) == ""


def test_the_page_says_what_was_removed_and_what_it_took() -> None:
    """Exact parameters, of several seeds the fewest and the most; seconds and memory."""
    second = part_of("flap", seed=1, removed=210, seconds=9.0, peak_bytes=3 * 10**9)
    seeds = [part_of("flap"), second]

    page = markdown(question_of(), rows_of(seeds), ["model `m`"])

    assert "| flap | 203 to 210 (20.30 %) |" in page
    assert "| flap | 8 s, 3.00 GB |" in page
    assert "- model `m`" in page


def test_a_ruined_model_keeps_its_row() -> None:
    """A perplexity beyond all measure is drawn short."""
    ruined = rows_of([part_of("dense"), part_of("magnitude", (12.0, 12.0))])

    assert "1.6e+05 (+1.6e+05)" in perplexities(ruined, "other")


def test_a_bar_in_a_name_ends_no_cell() -> None:
    """Whatever a row is called, it has two cells."""
    drawn = matrix(rows_of([part_of("analyze:a|b")]), lambda _: "x")

    assert drawn.splitlines()[2] == r"| analyze:a\|b | x |"
