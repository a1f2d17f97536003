"""Which rows of a table must go and which may, under the constraints that bind single halves.

Floors, protected layers, one kind only, widths in multiples. What binds several halves at once,
such as a share of what goes, is no business of this file.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.structure import GroupType
from globalprune.errors import PlanInvalid
from globalprune.planning.pins import Wishes

_Rows = NDArray[np.intp]


def limited(table: GroupTable, wishes: Wishes, constraints: Constraints, where: str) -> Wishes:
    """The wishes with the constraints; `where` names the file whose pins they may contradict.

    Raise `PlanInvalid` with every collision.
    """
    must_go, free = wishes.must_go.copy(), wishes.free.copy()
    protected = set(constraints.protect_layers)
    problems: list[str] = []
    for (layer, kind), by_index in table.halves.items():
        rows = np.sort(by_index)  # in the order of their scores: the worst first
        at = f"pin.{layer}.{kind}"
        if layer in protected or constraints.only not in (None, kind):
            reason = "protect_layers" if layer in protected else "only"
            problems += _pinned_to_go(must_go[rows], f"{at}: collides with {reason}")
            free[rows] = False
            continue
        _keep_best(rows, must_go, free, _floor(constraints, kind))
        if kind == "mlp" and constraints.round_mlp > 1:
            problems += _round(rows, must_go, free, constraints, layer)
    if problems:
        raise PlanInvalid(where, problems)
    return Wishes(must_go, free)


def _floor(constraints: Constraints, kind: GroupType) -> int:
    """How many groups of every half of a kind stay."""
    floor = constraints.min_attention_groups if kind == "attention" else constraints.min_mlp
    return max(floor, 1) if constraints.uniform else floor  # no stock config has an empty half


def _pinned_to_go(must_go: NDArray[np.bool_], collision: str) -> Iterator[str]:
    """Yield a complaint where a pin takes what a constraint keeps."""
    if must_go.any():
        yield f"{collision}, which keeps all of it; take one of the two out."


def _keep_best(
    rows: _Rows, must_go: NDArray[np.bool_], free: NDArray[np.bool_], floor: int
) -> None:
    """Take the best of the free rows out of what may go, until so many are sure to stay."""
    pinned = int((~must_go[rows] & ~free[rows]).sum())
    open_rows = rows[free[rows]]
    more = min(max(floor - pinned, 0), len(open_rows))
    free[open_rows[len(open_rows) - more :]] = False


def _round(
    rows: _Rows,
    must_go: NDArray[np.bool_],
    free: NDArray[np.bool_],
    constraints: Constraints,
    layer: int,
) -> Iterator[str]:
    """Let go what is above a multiple, the worst; yield a complaint where too few may go."""
    multiple = constraints.round_mlp
    stand = int((~must_go[rows]).sum())
    above = stand % multiple
    open_rows = rows[free[rows]]
    if above > len(open_rows):
        keeping = "pins and min_mlp" if constraints.min_mlp else "pins"
        yield (
            f"round_mlp: collides with {keeping}: in layer {layer} {stand} channels stand, and of "
            f"the {above} above a multiple of {multiple} only {len(open_rows)} may go; keep fewer, "
            "or round to less."
        )
        return
    must_go[open_rows[:above]] = True
    free[open_rows[:above]] = False
