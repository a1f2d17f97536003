"""One sublayer's weights: gate and up take steps that help, and streams have to be finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compensating import LENGTH, ROWS, compensated, ids_file, record_of
from cutting import Removals
from text_files import write_column
from tiny_models import random_ids, tiny_model

from globalprune.errors import NonFiniteError

Tiny = Callable[[str], Path]
PARTS: Removals = {1: {"attention": [0], "mlp": [1, 2, 3, 4, 5]}, 3: {"mlp": range(0, 24, 2)}}
IDS = random_ids(ROWS, LENGTH)


def test_a_stream_that_is_not_finite_is_told_with_its_sublayer(tmp_path: Path) -> None:
    """A window behind the first, which the check of the composition doesn't see."""
    model: Any = tiny_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[250] = torch.inf
    model.save_pretrained(tmp_path / "base")
    rows = IDS.masked_fill(IDS == 250, 0)
    rows[5, 3] = 250
    write_column(tmp_path, "parquet", "input_ids", rows.tolist())
    text = r"the stream through the mlp of layer 1 is not finite; try --dtype float32"
    with pytest.raises(NonFiniteError, match=text):
        compensated(tmp_path / "base", tmp_path, {1: {"mlp": [1]}})
    assert not (tmp_path / "out").exists()


def test_gates_take_steps_only_where_held_out_windows_gain(tiny: Tiny, tmp_path: Path) -> None:
    """The first sublayer sees the same stream however many steps: more are never worse."""
    found = []
    for steps in (0, 1, 4):
        ids_file(tmp_path / str(steps))
        compensated(tiny("llama"), tmp_path / str(steps), PARTS, gate_steps=steps)
        record = record_of(tmp_path / str(steps) / "out")
        assert record.gate_steps == steps
        assert all(module.gate_steps <= steps for module in record.modules)
        for module in record.modules:
            assert bool(module.gates) == (module.gate_steps > 0)
            assert not module.gates or module.group_type == "mlp"
        assert any(module.gates for module in record.modules) == (steps > 0)
        found.append(record.modules[1])
    none, one, four = (module.error_after for module in found)
    assert four <= one <= none
    names = {name for module in record.modules for name in module.gates}
    assert names <= {
        f"model.layers.{layer}.mlp.{name}.weight"
        for layer in (1, 2, 3)
        for name in ("gate_proj", "up_proj")
    }
