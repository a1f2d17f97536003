"""description.txt: the record of an analysis for people, in the order in which they ask."""

from globalprune.artifacts.analyses.analysis import AnalysisRecord, TextRecord
from globalprune.artifacts.analyses.normalisers import scored_by
from globalprune.artifacts.analyses.reliability import agreement
from globalprune.artifacts.analyses.trial import trial_text
from globalprune.artifacts.command import spelled_command


def describe(record: AnalysisRecord, loss: float | None) -> str:
    """Write the record as lines of `what: value`; `loss` is the model's on the text."""
    model, first, end = record.model, *record.layers
    lines = {
        "model": f"{model.source} ({model.model_type}{_revision(model.revision)})",
        "parameters": f"{model.parameters:,}, of which {model.prunable_parameters:,} in groups",
        "layers": f"{first}:{end} of {len(record.structure.layers)}",
        "measured": f"{record.removable:,} parameters, the most that a plan can remove",
        "text": _text(record.calibration),
        "importance": f"{_importance(record)} (measured: {', '.join(record.methods)})",
        "labels": _labels(record),
        "loss on the text": "not needed" if loss is None else f"{loss:.4f} nats a token",
        **{f"halves on {name}": agreement(found) for name, found in record.reliability.items()},
        "trial": trial_text(record.trial),
        "precision": record.dtype,
        "batch size": str(record.batch_size),
        "time": f"{record.seconds:.1f} s",
        "peak memory": f"{record.peak_memory_bytes / 2**20:,.0f} MiB",
        "tools": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "structure": model.structure_fingerprint,
        "weights": model.weights_fingerprint,
        "table": record.table,
        "command": spelled_command(record.command) or "-",
    }
    width = max(map(len, lines)) + 2
    text = [f"{name + ':':<{width}}{value}" for name, value in lines.items()]
    text = [*filter(None, [record.doubt]), *text]
    return "\n".join([*text, *(f"warning: {warning}" for warning in record.warnings)]) + "\n"


def _text(text: TextRecord) -> str:
    """What text it was, and how it was cut."""
    length = "their own length" if text.seq_len is None else f"{text.seq_len} tokens"
    seed = "in order" if text.seed is None else f"seed {text.seed}"
    bos = ", each begins with BOS" if text.bos else ""
    return (
        f"{text.source}, {text.samples} windows of {length}, {seed}{bos} ({text.tokens:,} tokens)"
    )


def _importance(record: AnalysisRecord) -> str:
    """What the table is scored by."""
    name = record.default_importance
    return scored_by(name, record.normaliser_of(name))


def _labels(record: AnalysisRecord) -> str:
    """Whose next tokens the gradients are of."""
    if record.labels == "text":
        return "the text's own next tokens"
    return f"drawn from the model, seed {record.label_seed}"


def _revision(revision: str | None) -> str:
    """The Hub revision, if there is one."""
    return "" if revision is None else f", revision {revision}"
