"""groups.parquet: one row a group, with its importance, cost and score.

Any Parquet reader can open it, and other programs may write it: rows come in any order, and columns
that are not ours are ignored. A column importance_NAME of numbers is an importance.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import (
    FORMAT_KEY,
    IMPORTANCE_PREFIX,
    TABLE_FORMAT,
    Columns,
    GroupTable,
    Ints,
    refuse_bad_rows,
    refuse_other_structure,
)
from globalprune.artifacts.disk import temporary_file
from globalprune.artifacts.structure import GROUP_TYPES, ModelStructure
from globalprune.errors import TableInvalid

TABLE_FILE: Final = "groups.parquet"
EXPERT_COLUMN: Final = "expert_idx"
_METADATA_PREFIX: Final = "globalprune."
_SHOWN: Final = 5  # names in one message
_TYPES: Final = {
    "layer_idx": "int32",
    "group_type": "dictionary<string>",
    "group_idx": "int32",
    "importance": "double",
    "cost": "int64",
    "score": "double",
}


def write_group_table(
    path: Path,
    table: GroupTable,
    structure: ModelStructure | None = None,
    further_costs: Mapping[str, Ints] | None = None,
) -> None:
    """Write the table whole or not at all.

    For people who read it there are columns that no command needs: with the `structure` of a
    mixture the expert of each channel, and `further_costs`, what a row saves of other budgets.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kinds = pa.DictionaryArray.from_arrays(table.group_type.astype(np.int8), list(GROUP_TYPES))
    columns: dict[str, Any] = {**table.named_columns(further_costs), "group_type": kinds}
    if structure is not None and structure.has_experts:
        expert, absent = _expert_of_rows(structure, table)
        columns[EXPERT_COLUMN] = pa.array(expert, mask=absent)
    with temporary_file(path) as temporary:
        written = pa.table(columns).replace_schema_metadata(table.metadata)
        parquet.write_table(written, temporary)


def read_group_table(path: Path, structure: ModelStructure | None = None) -> GroupTable:
    """Read and check a table; with a `structure`, check the number of rows and the costs too.

    Raises:
        TableInvalid: the file is no such table, or a row breaks a rule.
    """
    columns, importances, metadata = read_columns(path)
    written_as = metadata.get(FORMAT_KEY, TABLE_FORMAT)
    if written_as != TABLE_FORMAT:
        raise TableInvalid(
            f"{path}: is of format {written_as}, this globalprune reads {TABLE_FORMAT}; "
            "install the globalprune that wrote it, or run gp analyze again."
        )
    refuse_bad_rows(str(path), columns)
    if structure is not None:
        refuse_other_structure(str(path), columns, structure)
    return GroupTable.from_columns(columns, importances, metadata)


def read_columns(path: Path) -> tuple[Columns, Columns, dict[str, str]]:
    """Read the first six columns, the importances by method, and our metadata."""
    arrow = _open(path)
    _refuse_bad_columns(path, arrow)
    columns = {name: column_values(arrow[name]) for name in _TYPES if name != "group_type"}
    columns["group_type"] = kind_codes(path, arrow["group_type"])
    importances = {
        name.removeprefix(IMPORTANCE_PREFIX): column_values(arrow[name].cast("double", safe=False))
        for name in arrow.column_names
        if name.startswith(IMPORTANCE_PREFIX) and _is_number(arrow.schema.field(name).type)
    }
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (arrow.schema.metadata or {}).items()
    }
    ours = {key: text for key, text in metadata.items() if key.startswith(_METADATA_PREFIX)}
    return {name: columns[name] for name in _TYPES}, importances, ours


def kind_codes(path: Path, column: Any) -> NDArray[np.uint8]:
    """Return the position in GROUP_TYPES of each kind in a column of names."""
    import pyarrow as pa

    if not _is_text(column.type) or column.null_count:
        raise TableInvalid(f"{path}: column group_type holds no names; run gp analyze again.")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    unknown = [name for name in names if name not in GROUP_TYPES]
    if unknown:
        raise TableInvalid(
            f"{path}: column group_type holds {', '.join(map(repr, unknown[:_SHOWN]))}; "
            f"this globalprune knows {' and '.join(GROUP_TYPES)}."
        )
    positions = np.asarray([GROUP_TYPES.index(name) for name in names], np.uint8)
    codes: NDArray[np.uint8] = positions[column_values(encoded.indices)]
    return codes


def column_values(column: Any) -> NDArray[Any]:
    """Return a column as it lies in memory, nulls as NaN; Arrow's `to_numpy` would load pandas."""
    from pyarrow import compute

    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    return np.from_dlpack(compute.fill_null(whole, np.nan) if whole.null_count else whole)


def _open(path: Path) -> Any:
    """Read the Parquet file as an Arrow table."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise TableInvalid(f"{path}: there is no such file; name a folder that gp analyze wrote.")
    try:
        return parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise TableInvalid(
            f"{path}: is not a Parquet file ({str(error).splitlines()[0]}); run gp analyze again."
        ) from error


def _refuse_bad_columns(path: Path, arrow: Any) -> None:
    """Raise with every column that is missing, of a wrong type, there twice, or has nulls."""
    problems = []
    for name, expected in _TYPES.items():
        count = arrow.column_names.count(name)
        if count != 1:
            problems.append(f"column {name} is {'missing' if count == 0 else 'there twice'}")
            continue
        kind = arrow.schema.field(name).type
        fits = _is_text(kind) if name == "group_type" else str(kind) == expected
        if not fits:
            problems.append(f"column {name} is of type {kind}, not {expected}")
        elif arrow[name].null_count:
            problems.append(f"column {name} has {arrow[name].null_count} nulls")
    problems += [
        f"column {name} is there twice"
        for name in sorted(set(arrow.column_names) - set(_TYPES))
        if name.startswith(IMPORTANCE_PREFIX) and arrow.column_names.count(name) > 1
    ]
    if not problems and not len(arrow):
        problems.append("it has no rows")
    if problems:
        raise TableInvalid(
            f"{path}: is not a group table: {'; '.join(problems)}. "
            "Run gp analyze again, or write the columns with these types."
        )


def _is_text(kind: Any) -> bool:
    """Return whether an Arrow type is text, dictionary-encoded (by any index) or plain."""
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _is_number(kind: Any) -> bool:
    """Return whether an Arrow type can hold importances."""
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind))


def _expert_of_rows(
    structure: ModelStructure, table: GroupTable
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the number of each row's expert, and a mask of the rows that belong to no expert."""
    expert = np.zeros(len(table), np.int32)
    absent = np.ones(len(table), bool)
    of_mlp = table.group_type == GROUP_TYPES.index("mlp")
    for layer_idx, layer in enumerate(structure.layers):
        if layer.mlp.experts:
            rows = np.flatnonzero(of_mlp & (table.layer_idx == layer_idx))
            ends = np.cumsum(layer.mlp.experts)
            expert[rows] = np.searchsorted(ends, table.group_idx[rows], "right")
            absent[rows] = False
    return expert, absent
