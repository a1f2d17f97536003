"""origin.parquet: which group of the first model each group of the result is.

One row a kept group: `layer_idx, group_type, group_idx` number the result's groups,
`origin_layer_idx, origin_group_idx` those of the model that gp cut first, however often it was cut.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from globalprune.artifacts.plans.plan_effect import PlanEffect
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import TableInvalid

FORMAT = "globalprune.origin/1"
_ORIGINS = ("origin_layer_idx", "origin_group_idx")
_TYPES = {
    "layer_idx": pa.int32(),
    "group_type": pa.string(),
    "group_idx": pa.int32(),
    "origin_layer_idx": pa.int32(),
    "origin_group_idx": pa.int32(),
}


def origin_table(effect: PlanEffect, *, structure: str, weights: str) -> pa.Table:
    """Build the map; the metadata names the fingerprints of the model that was cut."""
    columns: dict[str, list[np.ndarray[tuple[int], np.dtype[np.int32]]]] = {
        "layer_idx": [],
        "group_type": [],
        "group_idx": [],
        "origin_layer_idx": [],
        "origin_group_idx": [],
    }
    for new, layer in enumerate(effect.kept_layers):
        for code, group_type in enumerate(GROUP_TYPES):
            kept = layer.of(group_type)
            count = len(kept)
            columns["layer_idx"].append(np.full(count, new, np.int32))
            columns["group_type"].append(np.full(count, code, np.int32))
            columns["group_idx"].append(np.arange(count, dtype=np.int32))
            columns["origin_layer_idx"].append(np.full(count, layer.layer_idx, np.int32))
            columns["origin_group_idx"].append(np.asarray(kept, np.int32))
    arrays = {name: pa.array(np.concatenate(parts)) for name, parts in columns.items()}
    arrays["group_type"] = pa.DictionaryArray.from_arrays(
        arrays["group_type"], pa.array(list(GROUP_TYPES))
    )
    table = pa.table(arrays)
    return table.replace_schema_metadata(
        {"format": FORMAT, "structure": structure, "weights": weights}
    )


def compose(table: pa.Table, before: pa.Table) -> pa.Table:
    """The map of a cut behind that of the cuts before it: from the result to the first model."""
    known = group_keys(before)
    order = np.argsort(known)
    rows = order[np.searchsorted(known, group_keys(table, "origin_"), sorter=order)]
    for name in _ORIGINS:
        values = pa.array(before[name].to_numpy()[rows], pa.int32())
        table = table.set_column(table.column_names.index(name), name, values)
    return table.replace_schema_metadata(before.schema.metadata)


def group_keys(table: pa.Table, prefix: str = "") -> NDArray[np.int64]:
    """A number for the group of every row, by its layer, kind and index."""
    kinds = pc.equal(pc.cast(table["group_type"], pa.string()), GROUP_TYPES[1]).to_numpy()
    layers = table[f"{prefix}layer_idx"].to_numpy().astype(np.int64)
    keys: NDArray[np.int64] = group_key(
        layers, kinds, table[f"{prefix}group_idx"].to_numpy().astype(np.int64)
    )
    return keys


def group_key(layer: Any, code: Any, index: Any) -> Any:
    """The same for single groups; `code` is the place of their kind in GROUP_TYPES."""
    return (layer * len(GROUP_TYPES) + code) * 2**32 + index


def read_origin(path: Path) -> pa.Table:
    """Read a map; raise `TableInvalid` for a file that is none."""
    again = "apply the plan again, or remove the file, and with it what is known of earlier cuts."
    try:
        table = pq.ParquetFile(path).read()
        fields = [(name, _TYPES[name]) for name in table.column_names]
        table = table.cast(pa.schema(fields, table.schema.metadata))
        whole = table.column_names == list(_TYPES) and not any(c.null_count for c in table.columns)
        known = set(table["group_type"].unique().to_pylist()) <= set(GROUP_TYPES)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise TableInvalid(f"{path}: is no map of groups ({reason}); {again}") from error
    found = (table.schema.metadata or {}).get(b"format", b"none").decode(errors="replace")
    if found != FORMAT or not whole or not known:
        raise TableInvalid(f"{path}: is of format {found} or lacks values, not {FORMAT}; {again}")
    return table


def write_origin(path: Path, table: pa.Table) -> None:
    """Write the map."""
    pq.write_table(table, path, compression="zstd")
