"""compensation.json: which weights were compensated, and how well."""

import json
from pathlib import Path
from typing import Any

import pytest
from records import text_record

from globalprune.artifacts.records import write_record
from globalprune.artifacts.results.cut import (
    CompensatedModule,
    CompensatedNorm,
    CompensationRecord,
    read_compensation,
)
from globalprune.errors import RecordInvalid


def module_of(**changes: Any) -> CompensatedModule:
    """A projection that was compensated."""
    facts: dict[str, Any] = {
        "layer_idx": 3,
        "group_type": "mlp",
        "tensor": "model.layers.3.mlp.down_proj.weight",
        "kept_inputs": 700,
        "strength": 1e-4,
        "error_before": 0.1 + 0.2,
        "error_after": 1e-17,
    }
    return CompensatedModule(**(facts | changes))


def record_of(*modules: CompensatedModule) -> CompensationRecord:
    """A compensation of these projections."""
    return CompensationRecord(
        text=text_record(),
        held_out_windows=2,
        strengths=(1e-4, 1.0),
        dtype="bfloat16",
        modules=modules,
        seconds=1.5,
        peak_memory_bytes=1,
    )


REFUSED = module_of(group_type="attention", strength=None, error_after=0.1 + 0.2)


@pytest.mark.parametrize("refitted", [True, False])
def test_the_final_norm_reads_back_too(tmp_path: Path, refitted: bool) -> None:
    """A record from before it was refitted, or of a model without a cut, has none."""
    norm = CompensatedNorm(
        tensor="model.norm.weight",
        refitted=refitted,
        divergence_before=0.1 + 0.2,
        divergence_after=0.25,
    )
    record = record_of(module_of()).model_copy(update={"final_norm": norm})
    write_record(tmp_path / "compensation.json", record)
    assert read_compensation(tmp_path / "compensation.json") == record
    assert record.final_norm_refitted == refitted

    older = json.loads((tmp_path / "compensation.json").read_text())
    del older["final_norm"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert not read_compensation(tmp_path / "older.json").final_norm_refitted


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """Every figure to the last bit, of projections that stayed as they were too."""
    record = record_of(REFUSED, module_of())
    write_record(tmp_path / "compensation.json", record)
    assert read_compensation(tmp_path / "compensation.json") == record
    written = json.loads((tmp_path / "compensation.json").read_text())
    assert written["format"] == "globalprune.compensation/1"
    assert written["modules"][0]["strength"] is None


def test_what_nothing_helped_is_not_counted() -> None:
    """Only changed projections are."""
    assert record_of(REFUSED, module_of(), module_of(layer_idx=4), REFUSED).accepted == 2
    assert record_of().accepted == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "globalprune.compensation/2"}, r"of format globalprune\.compensation/2, this"),
        ({"held_out_windows": 0}, r"held_out_windows: Input should be greater than or equal to 1"),
        ({"rank": 4}, r"rank: Extra inputs are not permitted"),
        ({"modules": [{"group_type": "norm"}]}, r"modules\.0\.group_type: Input should be 'atten"),
    ],
    ids=["newer", "nothing judged", "unknown key", "unknown sublayer"],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """With the place, and the command that makes it anew."""
    path = tmp_path / "compensation.json"
    path.write_text(json.dumps(record_of(module_of()).model_dump(mode="json") | change))
    with pytest.raises(RecordInvalid, match=message) as caught:
        read_compensation(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "gp apply --compensate" in str(caught.value)
