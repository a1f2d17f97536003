"""The parts as one page of Markdown."""

from collections.abc import Callable, Iterable, Sequence

from contest.figures import (
    Estimate,
    Row,
    best_peer,
    log_difference,
    mean_and_spread,
    row_divergence,
    row_perplexity,
)
from contest.ours import is_peer
from contest.question import DENSE, Question

STRIDED, OTHER, FOREIGN = "strided", "other", "foreign"
Cell = Callable[[Row], str]


def markdown(question: Question, rows: Sequence[Row], facts: Iterable[str]) -> str:
    """Every table, and below them what was measured, with what."""
    titles = {
        STRIDED: f"Perplexity, `{STRIDED}`: {question.strided} windows of {question.eval_seq_len} "
        f"tokens, one every {question.stride} tokens of the judging text",
        OTHER: f"Perplexity, `{OTHER}`: {_windows(rows, OTHER)} other windows of the same text",
        FOREIGN: f"Perplexity, `{FOREIGN}`: {_windows(rows, FOREIGN)} windows of another domain",
    }
    blocks = ["# Pruning recipes side by side", "\n".join(f"- {fact}" for fact in facts)]
    blocks += [f"## {title}\n\n{perplexities(rows, text)}" for text, title in titles.items()]
    blocks += [
        f"## KL(dense || pruned), nats a token, `{text}`\n\n" + divergences(rows, text)
        for text in (OTHER, FOREIGN)
    ]
    versus = against_peers(rows)
    if versus:
        blocks.append(f"## Ours against the best peer of each ratio\n\n{versus}")
    blocks.append(f"## Parameters removed\n\n{matrix(rows, _removed)}")
    blocks.append(f"## Seconds and peak memory of pruning\n\n{matrix(rows, _cost)}")
    return "\n\n".join(blocks) + "\n"


def matrix(rows: Sequence[Row], cell: Cell) -> str:
    """A row for each recipe and a column for each ratio, without the dense model."""
    ratios = sorted({row.ratio for row in rows if row.recipe != DENSE})
    names = list(dict.fromkeys(row.recipe for row in rows if row.recipe != DENSE))
    found = {(row.recipe, row.ratio): cell(row) for row in rows}
    lines = [_line(["recipe", *(f"{100 * ratio:g} %" for ratio in ratios)])]
    lines.append(_line(["---", *("---:" for _ in ratios)]))
    lines += [_line([name, *(found.get((name, ratio), "–") for ratio in ratios)]) for name in names]
    return "\n".join(lines)


def perplexities(rows: Sequence[Row], text: str) -> str:
    """The dense model first; in brackets what is above it."""
    dense = _dense(rows)
    base = row_perplexity(dense, text)[0] if dense else None
    drawn = matrix(rows, lambda row: _with_excess(row_perplexity(row, text), base))
    if base is None:
        return drawn
    head, rule, *rest = drawn.split("\n")
    columns = head.count("|") - 2
    return "\n".join([head, rule, _line([DENSE, *[f"{base:.2f}"] * columns]), *rest])


def divergences(rows: Sequence[Row], text: str) -> str:
    """How far each recipe's answers are from the dense model's."""
    return matrix(rows, lambda row: _plain(row_divergence(row, text), 4))


def against_peers(rows: Sequence[Row]) -> str:
    """For each row of ours: excess perplexity beside the best peer's, and ln PPL against it."""
    dense = _dense(rows)
    lines = []
    for row in rows:
        if row.recipe == DENSE or is_peer(row.recipe) or dense is None:
            continue
        for text in (STRIDED, OTHER, FOREIGN):
            peer = best_peer(rows, row.ratio, text)
            if peer is not None:
                lines.append(_line(_versus(row, peer, dense, text)))
    if not lines:
        return ""
    head = ["ours", "ratio", "text", "excess PPL", "best peer", "its excess", "factor", "Δ ln PPL"]
    return "\n".join([_line(head), _line(["---"] * len(head)), *lines])


def _versus(row: Row, peer: Row, dense: Row, text: str) -> list[str]:
    """One comparison's cells; the factor is of excess perplexities, below one is better."""
    base = row_perplexity(dense, text)[0]
    own, its = (row_perplexity(one, text)[0] - base for one in (row, peer))
    moved, error = log_difference(row, peer, text)
    return [
        *(row.recipe, f"{100 * row.ratio:g} %", text, f"{own:.2f}", peer.recipe, f"{its:.2f}"),
        f"{own / its:.2f}" if its > 0 else "–",
        f"{moved:+.4f}" + (f" ± {error:.4f}" if error is not None else ""),
    ]


def _with_excess(found: Estimate, base: float | None) -> str:
    """A perplexity, its spread over seeds, and what it is above the dense model's."""
    above = "" if base is None else f" ({_number(found[0] - base, signed=True)})"
    return _plain(found, 2) + above


def _plain(found: Estimate | None, digits: int) -> str:
    """A value and its spread."""
    if found is None:
        return "–"
    value, spread = found
    if value >= 10_000:  # noqa: PLR2004 - a ruined model: digits say nothing more
        return f"{value:.1e}"
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _number(value: float, *, signed: bool) -> str:
    """A number that may be huge."""
    sign = "+" if signed else ""
    return f"{value:{sign}.1e}" if value >= 10_000 else f"{value:{sign}.2f}"  # noqa: PLR2004 - as above


def _removed(row: Row) -> str:
    """Exact, and as a share of all parameters."""
    counts = sorted({part.removed for part in row.parts})
    share = 100 * counts[0] / row.parts[0].parameters
    return (
        " to ".join(f"{count:,}" for count in (counts[0], *counts[1:][-1:])) + f" ({share:.2f} %)"
    )


def _cost(row: Row) -> str:
    """Mean seconds and the highest peak of all seeds."""
    seconds = mean_and_spread([part.seconds for part in row.parts])[0]
    return f"{seconds:.0f} s, {max(part.peak_bytes for part in row.parts) / 1e9:.2f} GB"


def _windows(rows: Sequence[Row], text: str) -> int:
    """How many windows a text had."""
    return len(rows[0].judged(text)[0].nll) if rows else 0


def _dense(rows: Sequence[Row]) -> Row | None:
    """The dense model's row."""
    return next((row for row in rows if row.recipe == DENSE), None)


def _line(cells: Sequence[str]) -> str:
    """One line of a table; nothing ends a cell early."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
