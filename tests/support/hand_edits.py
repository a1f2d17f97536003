"""What a person does to a plan: random edits of what it says; `plan_typing` makes it a file."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_effect import removed_by
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.structure import GROUP_TYPES, GroupType, ModelStructure

Group = tuple[int, GroupType, int]


class Pin(NamedTuple):
    """What is wished of one sublayer."""

    keep: set[int]
    remove: set[int]
    width: int | None


Pins = dict[tuple[int, GroupType], Pin]


@dataclass
class Sheet:
    """What a plan file says, or should."""

    structure: ModelStructure
    gone: set[Group]
    pins: Pins
    others: dict[str, Any]  # all keys but `pin` and `layers`

    @property
    def everything(self) -> set[Group]:
        """Every group of the model."""
        sublayers = self.structure.sublayers()
        return {
            (at, kind, index)
            for at, kind, sublayer in sublayers
            for index in range(sublayer.groups)
        }

    def groups(self, layer: int, kind: GroupType) -> int:
        """How many groups a sublayer has."""
        return self.structure.layers[layer].sublayer(kind).groups


def sheet_of(path: Path, structure: ModelStructure) -> Sheet:
    """What a plan says that gp wrote."""
    plan = read_plan(path, structure)
    others = YAML(typ="safe").load(path)
    for key in ("pin", "layers"):
        others.pop(key, None)
    return Sheet(structure, removed(plan, structure), pins_of(plan, structure), others)


def removed(plan: PrunePlan, structure: ModelStructure) -> set[Group]:
    """Every group that goes."""
    return {
        (layer, kind, index)
        for layer, kind, indices in removed_by(plan, structure)
        for index in indices.tolist()
    }


def pins_of(plan: PrunePlan, structure: ModelStructure) -> Pins:
    """Every sublayer of which something is wished."""
    found: Pins = {}
    for layer, kind, sublayer in structure.sublayers():
        if layer in plan.pin and (wish := plan.pin[layer].of(kind)):
            keep, remove = (set(one.resolved(sublayer.groups)) for one in (wish.keep, wish.remove))
            found[layer, kind] = Pin(keep, remove, wish.width)
    return found


def edited(hand: random.Random, sheet: Sheet) -> Sheet:
    """The sheet after a few edits; something is left of the model."""
    sheet = Sheet(sheet.structure, set(sheet.gone), dict(sheet.pins), dict(sheet.others))
    for edit in hand.choices(EDITS, k=hand.randint(1, 4)):
        edit(hand, sheet)
    if sheet.gone == sheet.everything:
        sheet.gone.remove(min(sheet.gone))
    return sheet


def _delete_numbers(hand: random.Random, sheet: Sheet) -> None:
    """Some groups stay."""
    sheet.gone -= set(hand.sample(sorted(sheet.gone), min(len(sheet.gone), hand.randint(1, 3))))


def _add_numbers(hand: random.Random, sheet: Sheet) -> None:
    """Some more go."""
    standing = sorted(sheet.everything - sheet.gone)
    sheet.gone |= set(hand.sample(standing, min(len(standing), hand.randint(1, 3))))


def _part(hand: random.Random, sheet: Sheet) -> set[Group]:
    """All groups of a layer, or of one sublayer of it."""
    layer = hand.randrange(len(sheet.structure.layers))
    kinds = hand.choice([GROUP_TYPES, GROUP_TYPES[:1], GROUP_TYPES[1:]])
    return {group for group in sheet.everything if group[0] == layer and group[1] in kinds}


def _add_all(hand: random.Random, sheet: Sheet) -> None:
    """A layer or a sublayer goes whole."""
    sheet.gone |= _part(hand, sheet)


def _thin_out(hand: random.Random, sheet: Sheet) -> None:
    """Every second or third group of a sublayer goes: a long line."""
    everything = sorted(sheet.everything)
    sublayer, step = hand.choice(everything)[:2], hand.randint(2, 3)
    part = {group for group in everything if group[:2] == sublayer}
    sheet.gone = (sheet.gone - part) | {group for group in part if group[2] % step == 0}


def _delete_line(hand: random.Random, sheet: Sheet) -> None:
    """A layer or a sublayer stays whole."""
    sheet.gone -= _part(hand, sheet)


def _pin(hand: random.Random, sheet: Sheet) -> None:
    """A sublayer is pinned, or pinned otherwise, or no longer."""
    layer, kind, sublayer = hand.choice(list(sheet.structure.sublayers()))
    sheet.pins.pop((layer, kind), None)
    indices = hand.sample(range(sublayer.groups), hand.randint(0, sublayer.groups))
    keep = set(indices[: hand.randint(0, len(indices))])
    remove = set(indices) - keep
    width = hand.choice([None, len(keep), sublayer.groups - len(remove)])
    if indices or width is not None:
        sheet.pins[layer, kind] = Pin(keep, remove, width)


def _flip_the_switch(_: random.Random, sheet: Sheet) -> None:
    """Empty layers go, or stay as they are."""
    sheet.others["remove_empty_layers"] = not sheet.others["remove_empty_layers"]


def _ask_for_another_ratio(hand: random.Random, sheet: Sheet) -> None:
    """It binds the next plan, not this one."""
    sheet.others["target"] = sheet.others["target"] | {"ratio": hand.choice([0.05, 0.4])}


EDITS: tuple[Callable[[random.Random, Sheet], None], ...] = (
    *(_delete_numbers, _add_numbers) * 2,
    *(_add_all, _thin_out, _delete_line, _pin, _flip_the_switch, _ask_for_another_ratio),
)
