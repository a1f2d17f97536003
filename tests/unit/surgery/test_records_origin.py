"""origin.parquet names, for every group of the result, the group of the original that it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from applying import ALL_CHANNELS, ALL_GROUPS, applied
from cutting import Removals, tensors_in

Tiny = Callable[[str], Path]
SUBLAYERS: dict[str, dict[str, int]] = {  # the side of each tensor on which its groups lie
    "attention": {
        **{f"self_attn.{part}_proj.{kind}": 0 for part in "qkv" for kind in ("weight", "bias")},
        "self_attn.o_proj.weight": 1,
    },
    "mlp": {
        **{f"mlp.{part}_proj.{kind}": 0 for part in ("gate", "up") for kind in ("weight", "bias")},
        "mlp.down_proj.weight": 1,
    },
}


def slices(tensor: torch.Tensor, dim: int, groups: list[int], of: int) -> torch.Tensor:
    """The slices that `groups` own of a tensor whose side `dim` is shared by `of` groups alike."""
    parts = tensor.chunk(of, dim)
    return torch.cat([parts[group] for group in groups], dim)


@pytest.mark.parametrize("family", ["llama_tied_bias", "qwen2"])
def test_the_result_is_put_together_again_from_the_map(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    """Every projection and bias of every layer, behind a dropped layer too, comes from its rows."""
    groups = len(ALL_GROUPS[family])
    gone: Removals = {
        0: {"attention": [1], "mlp": [0, 5]},
        # of the family with output biases this layer stays, empty
        1: {"attention": ALL_GROUPS[family], "mlp": ALL_CHANNELS},
        3: {"attention": [0], "mlp": range(10, 20)},
    }
    out = Path(applied(tiny(family), tmp_path, gone).out)
    before, after = tensors_in(tiny(family)), tensors_in(out)
    sublayers: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in pq.read_table(out / "globalprune" / "origin.parquet").to_pylist():
        sublayers.setdefault((row["layer_idx"], row["group_type"]), []).append(row)

    rebuilt = 0
    for (layer, kind), rows in sublayers.items():
        assert [row["group_idx"] for row in rows] == list(range(len(rows)))
        [old] = {row["origin_layer_idx"] for row in rows}
        kept = [row["origin_group_idx"] for row in rows]
        count = groups if kind == "attention" else len(ALL_CHANNELS)
        for name, dim in SUBLAYERS[kind].items():
            if (found := after.get(f"model.layers.{layer}.{name}")) is not None:
                whole = before[f"model.layers.{old}.{name}"]
                assert torch.equal(found, slices(whole, dim, kept, count)), (layer, name)
                rebuilt += 1
    assert rebuilt == 3 * (12 if family == "llama_tied_bias" else 10)


def test_columns_and_metadata_are_plain(tiny: Tiny, tmp_path: Path) -> None:
    """Any reader sees integers and words, and which model the numbers belong to."""
    result = applied(tiny("llama"), tmp_path, {2: {"mlp": range(4)}})
    table = pq.read_table(Path(result.out) / "globalprune" / "origin.parquet")
    types: dict[str, Any] = {field.name: str(field.type) for field in table.schema}
    kind = types.pop("group_type")
    assert kind.startswith("dictionary<values=string")
    assert set(types.values()) == {"int32"}
    assert list(types) == ["layer_idx", "group_idx", "origin_layer_idx", "origin_group_idx"]
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["format"] == "globalprune.origin/1"
    assert metadata["structure"] == result.model.structure
    assert metadata["weights"] == result.model.weights
    assert table.num_rows == 4 * (4 + 24) - 4
