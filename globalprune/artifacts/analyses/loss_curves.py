"""curves.parquet: the removal order of each sublayer, and the loss along it in nats per token.

A row is one removal: the `removed_groups`-th of its sublayer takes `group_idx`, after which
`removed_params` parameters are gone and `predicted_nats` are lost, if what stays is compensated.
`measured_nats` holds the measured loss, where there is one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import ANALYSIS_KEY, FORMAT_KEY
from globalprune.artifacts.analyses.group_table_file import column_values, kind_codes
from globalprune.artifacts.disk import temporary_file
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.errors import TableInvalid

CURVES_FORMAT: Final = "globalprune.curves/1"
CURVES_FILE: Final = "curves.parquet"
_AGAIN: Final = "run gp analyze again"
_TYPES: Final = {
    "layer_idx": "int32",
    "removed_groups": "int32",
    "group_idx": "int32",
    "removed_params": "int64",
    "predicted_nats": "double",
    "measured_nats": "double",
}


@dataclass(frozen=True)
class Curves:
    """Columns of equal length, sublayer after sublayer, each along its order."""

    layer_idx: NDArray[np.int32]
    group_type: NDArray[np.integer[Any]]  # the position in GROUP_TYPES
    removed_groups: NDArray[np.int32]
    group_idx: NDArray[np.int32]
    removed_params: NDArray[np.int64]
    predicted_nats: NDArray[np.float64]
    measured_nats: NDArray[np.float64]  # NaN where nothing was measured


def write_curves(path: Path, curves: Curves, *, identity: str) -> None:
    """Write the curves whole or not at all; `identity` is that of their analysis."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = pa.DictionaryArray.from_arrays(curves.group_type, list(GROUP_TYPES))
    measured = pa.array(curves.measured_nats, mask=np.isnan(curves.measured_nats))
    columns: dict[str, Any] = vars(curves) | {"group_type": kinds, "measured_nats": measured}
    metadata = {FORMAT_KEY: CURVES_FORMAT, ANALYSIS_KEY: identity}
    with temporary_file(path) as temporary:
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), temporary)


def read_curves(path: Path, *, identity: str) -> Curves:
    """Read the curves of the analysis of that identity.

    Raise `TableInvalid` for another analysis's curves, and for a file of another format.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        arrow = parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TableInvalid(f"{path}: is not a Parquet file ({reason}); {_AGAIN}.") from error
    metadata = arrow.schema.metadata or {}
    stated = metadata.get(FORMAT_KEY.encode(), b"none").decode(errors="replace")
    names = list(Curves.__dataclass_fields__)
    missing = [name for name in names if arrow.column_names.count(name) != 1]
    if stated != CURVES_FORMAT or missing:
        lacks = f" and lacks {', '.join(missing)}" if missing else ""
        raise TableInvalid(f"{path}: is of format {stated}{lacks}, not {CURVES_FORMAT}; {_AGAIN}.")
    if metadata.get(ANALYSIS_KEY.encode()) != identity.encode():
        raise TableInvalid(
            f"{path}: belongs to another analysis than the analysis.json beside it; put the files "
            f"of one analysis together, or {_AGAIN}."
        )
    _refuse_wrong_columns(path, arrow)
    kinds = {"group_type": kind_codes(path, arrow["group_type"])}
    return Curves(**({name: column_values(arrow[name]) for name in names[:1] + names[2:]} | kinds))


def _refuse_wrong_columns(path: Path, arrow: Any) -> None:
    """Raise with every column that is not as `write_curves` writes it."""
    from pyarrow import compute

    problems = []
    for name, expected in _TYPES.items():
        column = arrow[name]
        if str(column.type) != expected:
            problems.append(f"column {name} is of type {column.type}, not {expected}")
        elif column.null_count and name != "measured_nats":
            problems.append(f"column {name} has {column.null_count} nulls")
        elif expected == "double" and compute.all(compute.is_finite(column)).as_py() is False:
            problems.append(f"column {name} holds numbers that are not finite")
        elif expected != "double" and (compute.min(column).as_py() or 0) < 0:
            problems.append(f"column {name} holds negative numbers")
    if not len(arrow):
        problems.append("it has no rows")
    if problems:
        raise TableInvalid(f"{path}: is no table of curves: {'; '.join(problems)}; {_AGAIN}.")
