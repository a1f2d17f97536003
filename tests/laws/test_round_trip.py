"""Law 5: plan → file → plan and table → Parquet → table are identities."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.analyses.group_table_file import read_group_table, write_group_table
from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import (
    AnalysisReference,
    LayerCuts,
    LayerPins,
    ModelReference,
    PrunePlan,
    SublayerPins,
    Target,
)
from globalprune.artifacts.plans.plan_file import read_plan, write_plan
from globalprune.artifacts.structure import GROUP_TYPES

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=150)
INDEX = st.integers(0, 3000)
RANGES = st.one_of(
    st.just(IndexSet(everything=True)),
    st.sets(INDEX, max_size=60).map(IndexSet.of),
    st.tuples(INDEX, INDEX).map(lambda ends: IndexSet.of(range(min(ends), max(ends) + 1))),
)
PIN = st.builds(SublayerPins, keep=RANGES, remove=RANGES, width=st.none() | INDEX)
TARGET = st.builds(Target, ratio=st.floats(0, 1, exclude_max=True))
PLAN = st.builds(
    PrunePlan,
    model=st.none()
    | st.builds(
        ModelReference,
        source=TEXT,
        structure=TEXT,
        weights=st.none() | TEXT,
        revision=st.none() | TEXT,
    ),
    analysis=st.none() | st.builds(AnalysisReference, path=TEXT, table=TEXT, importance=TEXT),
    target=st.none() | TARGET,
    pin=st.dictionaries(INDEX, st.builds(LayerPins, attention=PIN, mlp=PIN), max_size=3),
    generated=st.none() | TEXT,
    remove_empty_layers=st.booleans(),
    layers=st.dictionaries(INDEX, st.builds(LayerCuts, attention=RANGES, mlp=RANGES), max_size=4),
)


@settings(max_examples=15, deadline=None)
@given(plan=PLAN)
def test_a_plan_survives_its_file(plan: PrunePlan) -> None:
    """Every decision, wish and reference, and the second file is the first byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.yaml", Path(folder) / "b.yaml"
        write_plan(first, plan, header=["as generated: nothing"], overwrite=False)
        found = read_plan(first)
        write_plan(second, found, header=["as generated: nothing"], overwrite=False)
        assert found == plan
        assert found.decisions_digest() == plan.decisions_digest()
        assert first.read_bytes() == second.read_bytes()


@st.composite
def tables(draw: st.DrawFn) -> GroupTable:
    """Any groups, in any order, with any finite importances."""
    group = st.tuples(INDEX, st.integers(0, len(GROUP_TYPES) - 1), INDEX)
    rows: list[Any] = draw(st.lists(group, min_size=1, max_size=20, unique=True))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=len(rows), max_size=len(rows)))

    finite = st.floats(allow_nan=False, allow_infinity=False)
    names = draw(st.lists(st.text("abc_1", min_size=1), min_size=1, max_size=3, unique=True))
    layer_idx, group_type, group_idx = zip(*rows, strict=True)
    return GroupTable.build(
        layer_idx,
        group_type,
        group_idx,
        cost=column(st.integers(1, 2**40)),
        importances={name: column(finite) for name in names},
        metadata={f"globalprune.{key}": draw(TEXT) for key in draw(st.sets(TEXT, max_size=2))},
    )


@settings(max_examples=30, deadline=None)
@given(table=tables())
def test_a_table_survives_its_file(table: GroupTable) -> None:
    """Every number to the last bit, the types, the order of rows and columns, the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "groups.parquet"
        write_group_table(path, table)
        found = read_group_table(path)
    assert found.digest == table.digest
    assert found.metadata == table.metadata
    assert list(found.importances) == list(table.importances)
    pairs = [(found.columns(), table.columns()), (found.importances, table.importances)]
    for ours, theirs in pairs:
        for name, column in theirs.items():
            assert ours[name].dtype == column.dtype
            assert ours[name].tobytes() == np.ascontiguousarray(column).tobytes()
