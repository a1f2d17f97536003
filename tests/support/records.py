"""Records of analyses made by hand: what was measured is invented, the rest belongs together."""

from typing import Any

from globalprune.artifacts.analyses.analysis import AnalysisRecord, ModelRecord
from globalprune.artifacts.evaluations.evaluation import (
    Comparison,
    EvaluationSettings,
    Hardware,
    ModelResult,
    PerplexityResult,
    SpeedResult,
    SpeedSettings,
    perplexity_of,
)
from globalprune.artifacts.evaluations.latency_table import MachineRecord, TimedPoint
from globalprune.artifacts.plans.plan import ModelReference
from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.structure import ModelStructure


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


def judged(*nll: float, windows: str = "sha256:1") -> PerplexityResult:
    """The perplexity of windows of ten predicted tokens with these losses."""
    return perplexity_of(nll, [10] * len(nll), windows)


def speed_of(*seconds: float) -> SpeedResult:
    """Rounds that took so long for a hundred tokens."""
    rates = tuple(100 / second for second in seconds)
    return SpeedResult(
        prefill_tokens_per_second=rates,
        decode_tokens_per_second=rates,
        time_to_first_token_seconds=seconds,
    )


def model_result(source: str = "test/model", **changes: Any) -> ModelResult:
    """A model of twenty million parameters that was judged by three windows."""
    facts: dict[str, Any] = {
        "source": source,
        "weights": "sha256:5",
        "parameters": 20_000_000,
        "file_bytes": 80_000_000,
        "kv_cache_bytes_per_token": 1024,
        "peak_memory_bytes": 1_234_567_890,
        "dtype": "float32",
        "perplexity": judged(20.0, 24.0, 22.0),
    }
    return ModelResult(**(facts | changes))


def comparison_of(*results: ModelResult, **changes: Any) -> Comparison:
    """These models side by side, timed in two rounds if the first has a speed."""
    speed = SpeedSettings(rounds=2) if results[0].speed else None
    facts: dict[str, Any] = {
        "models": results,
        "text": text_record(),
        "settings": EvaluationSettings(
            seq_len=8, stride=None, samples=None, batch_size=1, dtype=None, speed=speed
        ),
        "device": "cpu",
        "hardware": Hardware(cpu="a processor", threads=2),
        "versions": {"python": "3.11"},
        "command": "gp eval test/model",
    }
    return Comparison(**(facts | changes))


def timed(attention: int, mlp: int, *seconds: float) -> TimedPoint:
    """Layers that keep so many groups, and the rounds of a token."""
    return TimedPoint(attention=attention, mlp=mlp, seconds_per_token=seconds)


def machine_record(*points: TimedPoint, **changes: Any) -> MachineRecord:
    """Latencies of a model of two layers; of 2 attention groups and 8 channels unless given."""
    plain = timed(2, 8, 3.0), timed(1, 8, 2.5), timed(0, 8, 1.0), timed(2, 4, 2.5), timed(2, 0, 2.0)
    facts: dict[str, Any] = {
        "model": ModelReference(source="test/model", structure="sha256:1"),
        "layers": 2,
        "device": "cpu",
        "hardware": Hardware(cpu="a processor", threads=2),
        "dtype": "float32",
        "batch_size": 1,
        "context": 2048,
        "tokens": 16,
        "points": points or plain,
        "versions": {"python": "3.11"},
        "seconds": 1.5,
        "command": "gp measure test/model -o machine.json",
    }
    return MachineRecord(**(facts | changes))
