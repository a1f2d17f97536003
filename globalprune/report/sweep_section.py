"""What a sweep says: many plans of one model, judged by the same text."""

from functools import partial

from globalprune.artifacts.evaluations.sweep import HEAD, Sweep, table_of, text_line
from globalprune.report.content import Block, Lines, Part, Table, commands
from globalprune.report.drawing import picture
from globalprune.report.sweep_curve import SIZE, draw_curve
from globalprune.report.wording import model_phrase, provenance, text_phrase


def sweep_part(sweep: Sweep) -> Part:
    """The table and the curve."""
    caption = "Perplexity over what was removed; bars are standard errors."
    lines = [text_line(sweep), *_repairs(sweep)]
    blocks: list[Block] = [
        Table(HEAD, tuple(table_of(sweep))),
        Lines(tuple(lines)),
        *picture(caption, partial(draw_curve, sweep=sweep), SIZE),
    ]
    blocks += commands(sweep.command)
    digests = {"weights": sweep.dense.weights, "windows of text": sweep.text.digest}
    blocks.append(provenance(digests, sweep.versions))
    return Part("sweep", f"Many plans of {model_phrase(sweep.dense.source, None)}", tuple(blocks))


def _repairs(sweep: Sweep) -> list[str]:
    """How the points came about."""
    repaired = sum(point.compensated for point in sweep.points)
    masked = len(sweep.points) - repaired
    lines = [f"judged as masks: {masked}; cut and compensated: {repaired}"]
    if sweep.repaired_on is not None:
        lines.append(f"compensated on {text_phrase(sweep.repaired_on)}")
    return lines
