"""Whose channel each row of a table is, where layers have experts: for people who read it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure

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
