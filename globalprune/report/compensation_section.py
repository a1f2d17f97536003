"""What a compensation says: the error of every half before and after it was solved anew."""

from collections.abc import Iterator

from globalprune.artifacts.formatting import size
from globalprune.artifacts.results.compensation import CompensationRecord, ModuleRepair
from globalprune.report.content import Block, Facts, Part, Table
from globalprune.report.drawing import NAMES
from globalprune.report.result_pictures import repairs_picture
from globalprune.report.wording import duration, text_phrase


def compensation_part(record: CompensationRecord) -> Part:
    """The whole of it."""
    pictures = repairs_picture(record.modules)
    blocks: tuple[Block, ...] = (Facts(tuple(_facts(record))), *pictures, _table(record))
    return Part("compensation", "How the rest was compensated", blocks)


def _facts(record: CompensationRecord) -> Iterator[tuple[str, str]]:
    """Yield on what, how, and with what success."""
    yield "text", text_phrase(record.text)
    yield "windows that only judge", f"{record.held_out_windows:,}"
    if record.beginnings:
        yield "short windows beside", f"{record.beginnings:,}"
    yield "halves that changed", f"{record.accepted:,} of {len(record.modules):,}"
    if record.gate_steps:
        yield "steps for gate and up", f"{record.gate_steps} at most"
    yield "ridge strengths tried", ", ".join(f"{strength:g}" for strength in record.strengths)
    norm = record.final_norm
    if norm is not None:
        what = "refitted" if norm.refitted else "left as it was"
        before, after = norm.divergence_before, norm.divergence_after
        yield "final norm", f"{what}: KL {before:.4g} → {after:.4g} nats a token"
    yield "digest of the windows", record.text.digest
    memory = size(record.peak_memory_bytes)
    yield "took", f"{duration(record.seconds)} in {record.dtype}, {memory} of memory at most"


def _table(record: CompensationRecord) -> Table:
    """Every half that was looked at."""
    rows = tuple(
        (
            f"{one.layer_idx} {NAMES[one.group_type]}",
            f"{one.kept_inputs:,}",
            f"{100 * one.error_before:.3f} %",
            f"{100 * one.error_after:.3f} %",
            _solved(one),
        )
        for one in record.modules
    )
    head = ("layer", "inputs that stay", "error before", "error after", "solved anew")
    return Table(head, rows, title="Errors on held-out windows, half by half")


def _solved(one: ModuleRepair) -> str:
    """What of a half changed."""
    parts = [*(["output"] if one.strength is not None else []), *one.gates]
    return ", ".join(parts) or "nothing"
