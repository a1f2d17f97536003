"""The card's `model-index`, from which the Hub shows figures: perplexities of evaluation.json.

https://huggingface.co/docs/hub/model-cards#evaluation-results. Only what the record says stands in
it: of a local file its name, of a data set the configuration and the split where both were named.
"""

import re
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.card.facts import CardFacts, last_part

_TASK: Final = {"type": "text-generation"}
_BUILTIN: Final = "builtin"
_BUILTIN_NAME: Final = "the part of CPython's manual that calibration never sees"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def model_index(facts: CardFacts) -> list[dict[str, Any]]:
    """The figures of this very model, by its weights; empty where it was never judged."""
    evaluation = facts.records.evaluation
    if evaluation is None:
        return []
    weights = _weights(facts)
    judged = [model for model in evaluation.models if model.weights == weights]
    metrics = [metric for model in judged[-1:] for metric in _metrics(model, evaluation.text)]
    if not metrics:
        return []
    results = [{"task": _TASK, "dataset": _dataset(evaluation.text.source), "metrics": metrics}]
    return [{"name": facts.name, "results": results}]


def _weights(facts: CardFacts) -> str | None:
    """The fingerprint of what lies in the folder: of the last finetuning, else of the cut."""
    records = facts.records
    if records.runs:
        return records.runs[-1].weights
    return None if records.cut is None else records.cut.weights


def _metrics(model: ModelResult, text: TextRecord) -> list[dict[str, Any]]:
    value = model.perplexity.value
    if value is None:
        return []
    length = "rows" if text.seq_len is None else f"windows of {text.seq_len} tokens"
    name = f"perplexity, {text.samples:,} {length}, computed in {model.dtype}"
    return [{"type": "perplexity", "value": float(f"{value:.6g}"), "name": name}]


def _dataset(source: str) -> dict[str, str]:
    """How the Hub would name the text, as far as the record says."""
    if source == _BUILTIN:
        return {"name": _BUILTIN_NAME, "type": _BUILTIN}
    identifier, *more = source.split(":")
    if Path(source).expanduser().exists() or not _HUB_ID.fullmatch(identifier):
        name = last_part(source)
        return {"name": name, "type": name}
    named = dict(zip(("config", "split"), more, strict=True)) if len(more) == 2 else {}  # noqa: PLR2004
    return {"name": source, "type": identifier, **named}
