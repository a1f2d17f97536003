"""The columns of groups.parquet as numpy arrays, checked against each other and a structure.

Unknown columns are ignored, since pandas may have written the file.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure
from globalprune.errors import TableInvalid

IMPORTANCE_PREFIX = "importance_"
_TYPES = {
    "layer_idx": "int32",
    "group_type": "dictionary<string>",
    "group_idx": "int32",
    "importance": "double",
    "cost": "int64",
    "score": "double",
}
Columns = dict[str, NDArray[Any]]


def read_columns(path: Path) -> tuple[Columns, Columns, dict[str, str]]:
    """Read the six columns, the other importances by method, and the metadata."""
    arrow = _open(path)
    _refuse_wrong_columns(path, arrow)
    columns = {name: column_values(arrow[name]) for name in _TYPES if name != "group_type"}
    columns["group_type"] = kind_codes(path, arrow["group_type"])
    others = {
        name.removeprefix(IMPORTANCE_PREFIX): column_values(arrow[name].cast("double", safe=False))
        for name in arrow.column_names
        if name.startswith(IMPORTANCE_PREFIX) and _is_number(arrow.schema.field(name).type)
    }
    metadata = arrow.schema.metadata or {}
    texts = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in metadata.items()
    }
    return {name: columns[name] for name in _TYPES}, others, _ours(texts)


def rows_by_sublayer(columns: Columns) -> dict[tuple[int, GroupType], NDArray[np.intp]]:
    """The rows of every sublayer, ordered by group_idx."""
    sublayer = sublayer_of_rows(columns)
    sizes = np.bincount(sublayer)
    rows = np.split(order_by_sublayer(columns), np.cumsum(sizes)[:-1])
    return {
        (key // len(GROUP_TYPES), GROUP_TYPES[key % len(GROUP_TYPES)]): rows[key]
        for key in np.flatnonzero(sizes).tolist()
    }


def order_by_sublayer(columns: Columns) -> NDArray[np.intp]:
    """The rows ordered by layer, kind and index; layers and indices are 0 or more.

    Where every sublayer has each index once, as it should, a row's place is known without sorting.
    """
    sublayer, index = sublayer_of_rows(columns), columns["group_idx"]
    sizes = np.bincount(sublayer)
    if (index < sizes[sublayer]).all():
        place = (np.cumsum(sizes) - sizes)[sublayer] + index
        order = np.full(len(place), -1, np.intp)
        order[place] = np.arange(len(place))
        if (order >= 0).all():
            return order
    return np.lexsort((index, sublayer))


def sublayer_of_rows(columns: Columns) -> NDArray[np.int64]:
    """A number for each row's layer and kind, ascending by both."""
    sublayers: NDArray[np.int64] = columns["layer_idx"].astype(np.int64) * len(GROUP_TYPES)
    return sublayers + columns["group_type"]


def _open(path: Path) -> Any:
    """Open the Parquet file, whatever may be wrong with it being one message."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise TableInvalid(f"{path}: there is no such file; name a folder that gp analyze wrote.")
    try:
        return parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise TableInvalid(
            f"{path}: is not a Parquet file ({first_line}); run gp analyze again."
        ) from error


def _refuse_wrong_columns(path: Path, arrow: Any) -> None:
    """Raise with every column that is missing, of a wrong type, doubled or with holes."""
    problems = []
    for name, wanted in _TYPES.items():
        count = arrow.column_names.count(name)
        if count != 1:
            problems.append(f"column {name} is {'missing' if count == 0 else 'there twice'}")
            continue
        found = arrow.schema.field(name).type
        fits = _is_text(found) if name == "group_type" else str(found) == wanted
        if not fits:
            problems.append(f"column {name} is of type {found}, not {wanted}")
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


def kind_codes(path: Path, column: Any) -> NDArray[np.uint8]:
    """Turn the kinds' names into positions in GROUP_TYPES."""
    import pyarrow as pa

    if not _is_text(column.type) or column.null_count:
        raise TableInvalid(f"{path}: column group_type holds no names; run gp analyze again.")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    strange = [name for name in names if name not in GROUP_TYPES]
    if strange:
        raise TableInvalid(
            f"{path}: column group_type holds {', '.join(map(repr, strange[:5]))}; "
            f"this globalprune knows {' and '.join(GROUP_TYPES)}."
        )
    positions = np.asarray([GROUP_TYPES.index(name) for name in names], np.uint8)
    codes: NDArray[np.uint8] = positions[column_values(encoded.indices)]
    return codes


def column_values(column: Any) -> NDArray[Any]:
    """The column as it lies in memory, nulls as NaN; `to_numpy` would load pandas."""
    from pyarrow import compute

    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    return np.from_dlpack(compute.fill_null(whole, np.nan) if whole.null_count else whole)


def _is_text(kind: Any) -> bool:
    """Whether a type is text, dictionary-encoded (by whatever index) or plain."""
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _is_number(kind: Any) -> bool:
    """Whether a type can hold importances."""
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind))


def _ours(texts: dict[str, str]) -> dict[str, str]:
    """Leave out what pandas and Arrow note for themselves."""
    return {key: value for key, value in texts.items() if key.startswith("globalprune.")}


_TOLERANCE = 1e-9  # relative; a score may have been divided by another program
_SHOWN = 5
_MOST_LAYERS = 2**20  # no model has so many; counting by layer takes memory for each


def refuse_bad_rows(where: str, columns: Columns, remedy: str = "Run gp analyze again.") -> None:
    """Raise `TableInvalid` with every rule that some row breaks, and the first such row."""
    with np.errstate(all="ignore"):
        expected = columns["importance"] / columns["cost"]
        off = np.abs(columns["score"] - expected)
        wrong_score = ~(off <= _TOLERANCE * np.abs(expected))
    finite = np.isfinite(columns["importance"])
    paid = columns["cost"] > 0
    negative = (columns["layer_idx"] < 0) | (columns["group_idx"] < 0)
    beyond = columns["layer_idx"] >= _MOST_LAYERS
    rules = {
        "importance is not finite": ~finite,
        "cost is not a positive number of parameters": ~paid,
        "layer_idx or group_idx is negative": negative,
        f"layer_idx is {_MOST_LAYERS:,} or more": beyond,
        "the group stands in the table twice": _repeated(columns, ~(negative | beyond)),
        "score is not importance / cost": wrong_score & finite & paid,
    }
    problems = [
        f"{rule} in {int(broken.sum())} rows, such as {_name(columns, int(np.argmax(broken)))}"
        for rule, broken in rules.items()
        if broken.any()
    ]
    if problems:
        raise TableInvalid(f"{where}: {'; '.join(problems)}. {remedy}")


def refuse_misfit(where: str, columns: Columns, structure: ModelStructure) -> None:
    """Raise `TableInvalid` unless each layer in the table has the structure's groups and costs."""
    measured = set(np.unique(columns["layer_idx"]).tolist())
    problems = [
        f"layer {layer} is not in the model, which has {len(structure.layers)} layers"
        for layer in sorted(measured)
        if layer >= len(structure.layers)
    ]
    sublayers = rows_by_sublayer(columns)
    nothing = np.zeros(0, np.intp)
    for layer, group_type, sublayer in structure.sublayers():
        if layer not in measured:
            continue
        rows = sublayers.get((layer, group_type), nothing)
        indices, costs = columns["group_idx"][rows], columns["cost"][rows]
        if not np.array_equal(np.sort(indices), np.arange(sublayer.candidates)):
            problems.append(
                f"layer {layer} {group_type}: {len(indices)} rows, not one for each of its "
                f"{sublayer.candidates} groups"
            )
        elif (costs != sublayer.cost).any():
            problems.append(f"layer {layer} {group_type}: a cost that is not {sublayer.cost:,}")
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + ("; …" if len(problems) > _SHOWN else "")
        raise TableInvalid(
            f"{where}: does not belong to the structure in analysis.json: {shown}. "
            "Put the two files of one analysis together, or run gp analyze again."
        )


def _repeated(columns: Columns, named: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark rows whose group another row names already, of those that name one."""
    rows = np.flatnonzero(named)
    if not len(rows):
        return np.zeros(len(named), bool)
    some = columns if named.all() else {name: column[rows] for name, column in columns.items()}
    order = order_by_sublayer(some)
    sublayer, index = sublayer_of_rows(some)[order], some["group_idx"][order]
    same = (sublayer[1:] == sublayer[:-1]) & (index[1:] == index[:-1])
    repeated = np.zeros(len(named), bool)
    repeated[rows[order[1:]]] = same
    return repeated


def _name(columns: Columns, row: int) -> str:
    """A row as a person would name it."""
    kind = GROUP_TYPES[int(columns["group_type"][row])]
    return f"layer {columns['layer_idx'][row]} {kind} {columns['group_idx'][row]}"


EXPERT_COLUMN = "expert_idx"
_Rows = NDArray[np.integer[Any]]


def expert_of_rows(
    structure: ModelStructure, layer: _Rows, kind: _Rows, index: _Rows
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The number of each row's expert, and whether a row is no expert's."""
    found = np.zeros(len(layer), np.int32)
    absent = np.ones(len(layer), bool)
    of_mlp = kind == GROUP_TYPES.index("mlp")
    for number, of_layer in enumerate(structure.layers):
        if of_layer.mlp.experts:
            rows = np.flatnonzero(of_mlp & (layer == number))
            found[rows] = np.searchsorted(np.cumsum(of_layer.mlp.experts), index[rows], "right")
            absent[rows] = False
    return found, absent
