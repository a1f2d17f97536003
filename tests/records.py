"""Records of analyses made by hand: what was measured is invented, the rest belongs together."""

from typing import Any

from globalprune.artifacts.analysis_record import AnalysisRecord, ModelRecord, TextRecord
from globalprune.artifacts.groups import ModelStructure


def text_record(**changes: Any) -> TextRecord:
    """A text of one window."""
    facts: dict[str, Any] = {
        "source": "test",
        "documents": 1,
        "document_digests": ("sha256:1",),
        "samples": 1,
        "seq_len": 8,
        "stride": None,
        "tokens": 8,
        "predicted_tokens": 7,
        "seed": 0,
        "bos": False,
        "digest": "sha256:2",
    }
    return TextRecord(**(facts | changes))


def analysis_record(structure: ModelStructure, **changes: Any) -> AnalysisRecord:
    """An analysis of all layers of a model of that structure."""
    facts: dict[str, Any] = {
        "model": ModelRecord(
            source="test/model",
            revision=None,
            model_type="llama",
            structure_fingerprint=structure.fingerprint,
            weights_fingerprint="sha256:3",
            parameters=structure.parameters,
            prunable_parameters=structure.prunable,
        ),
        "structure": structure,
        "layers": (0, len(structure.layers)),
        "calibration": text_record(),
        "methods": ("taylor",),
        "default_importance": "taylor",
        "dtype": "float32",
        "batch_size": 1,
        "table": "sha256:4",
        "versions": {"python": "3.11"},
        "seconds": 1.5,
        "peak_memory_bytes": 1,
        "command": "gp analyze test/model",
    }
    return AnalysisRecord(**(facts | changes))
