"""origin.parquet: which group of the model that was cut each group of the result is.

One row a kept group: `layer_idx, group_type, group_idx` number the result's groups,
`origin_layer_idx, origin_group_idx` those of the model that the plan was applied to.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from globalprune.artifacts.groups import GROUP_TYPES
from globalprune.artifacts.plans.plan_effect import PlanEffect

FORMAT = "globalprune.origin/1"


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


def write_origin(path: Path, table: pa.Table) -> None:
    """Write the map."""
    pq.write_table(table, path, compression="zstd")
