"""What goes wrong at a plan file: mistakes, and how the complaint about each of them begins."""

import random
from collections.abc import Callable

from handwriting import Keys, Value, rarely

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.structure import GROUP_TYPES

UNKNOWN = "is no key that a plan knows; "
SETS = {
    "999": "999 is out of range: there are ",
    '"0, 999"': "999 is out of range: there are ",
    "0-999": "",  # from the number of groups on
    '"0, 0"': "index 0 is named twice; name each once.",
    "'0-1, 1'": "index 1 is named twice; name each once.",
    "1-0": "'1-0' runs backwards; write '0-1'.",
    "-1": "-1 is not a set of indices; write ",
    '"0, -1"': "'-1' is no index or range; write ",
    "four": "'four' is no index or range; write ",
    '"0, x-1"': "'x-1' is no index or range; write ",
    "1.5": "1.5 is not a set of indices; write ",
    "true": "True is not a set of indices; write ",
    "[0, 1]": "[0, 1] is not a set of indices; write ",
    "": "None is not a set of indices; write ",
    "null": "None is not a set of indices; write ",
}
SUBLAYERS = {
    "mpl": UNKNOWN + "did you mean mlp?",
    "atention": UNKNOWN + "did you mean attention?",
    "experts": UNKNOWN + "known here: attention, mlp.",
}
LAYERS = {
    "": ": null is not a mapping with attention and/or mlp; write {} for nothing.",
    "all": ": 'all' is not a mapping with attention and/or mlp; write {} for nothing.",
    "{mlp: 0, 1}": ".1: is no key that a plan knows; if it is an index, put all of them in quotes",
}
PINS = {
    "{keep: 999}": ".keep: 999 is out of range: there are ",
    "{remove: 1-0}": ".remove: '1-0' runs backwards; write '0-1'.",
    "{keep: 0, remove: 0}": ".remove: 0 is both in keep and in remove; name it in one.",
    "{keep: 0, width: 0}": ".width: 0 is less than the 1 groups of keep; write more.",
    "{width: 999}": ".width: 999 is more than the ",
    "{width: -1}": ".width: -1 should be greater than or equal to 0; write such a value.",
    "{widht: 1}": ".widht: is no key that a plan knows; did you mean width?",
    "1": ": 1 is not a mapping with keep, remove and/or width; write {} for nothing.",
}
KEYS = {
    "layer": {"{}": f": {UNKNOWN}did you mean layers?"},
    "pins": {"{}": f": {UNKNOWN}did you mean pin?"},
    "heads": {"{0: 1}": f": {UNKNOWN}known here: format, model, "},
    "model": {"{source: x}": ".structure: is missing; add it."},
    "generated": {"5": ": 5 should be a valid string; write such a value."},
    "remove_empty_layers": {
        "yes": ": 'yes' should be true or false; write such a value.",
        "": ": None should be true or false; write such a value.",
    },
    "target": {
        "{ratio: 2}": ".ratio: 2 should be less than 1; write such a value.",
        "{ratio: a fifth}": ".ratio: 'a fifth' should be a valid number; write such a value.",
        "{ratio: 0, constraints: {onyl: mlp}}": f".constraints.onyl: {UNKNOWN}did you mean only?",
    },
}


def spoil(hand: random.Random, keys: Keys) -> list[str]:
    """Make a few mistakes in a plan of five layers; hand back how each complaint begins."""
    layers = inside(keys, "layers")
    if rarely(hand):
        for layer in range(5):
            put(layers, str(layer), [("mlp", "all"), ("attention", "all")])
        said = ["layers: the plan leaves no layer: every group of every layer goes; keep some"]
    else:
        places = hand.sample(range(5), hand.randint(1, 3))
        said = [hand.choice(MISTAKES)(hand, keys, layer) for layer in places]
    for key in hand.sample(list(KEYS), hand.randint(0, 2)):
        value, complaint = hand.choice(list(KEYS[key].items()))
        put(keys, key, value)
        said.append(f"{key}{complaint}")
    if rarely(hand):
        keys.insert(hand.randrange(len(keys) - 1), keys.pop())
        below = [key for key, _ in keys[keys.index(("layers", layers)) + 1 :]]
        known = [key for key in below if key in PrunePlan.model_fields]
        said += [f"{key}: stands below layers, which is the last key" for key in known]
    return said


def inside(keys: Keys, name: str) -> Keys:
    """The mapping behind a key; made where there is none, not as the last."""
    for key, value in keys:
        if key.strip('"') == name and not isinstance(value, str):
            return value
    made: Keys = []
    put(keys, name, made)
    return made


def put(keys: Keys, name: str, value: Value) -> None:
    """Give a key this value, in place of what it had."""
    for at, (key, _) in enumerate(keys):
        if key.strip('"') == name:
            keys[at] = (key, value)
            return
    keys.insert(0, (name, value))


def _set(hand: random.Random, keys: Keys, layer: int) -> str:
    """A set of indices that is none, or not of this model."""
    kind, (value, complaint) = hand.choice(GROUP_TYPES), hand.choice(list(SETS.items()))
    put(inside(inside(keys, "layers"), str(layer)), kind, value)
    return f"layers.{layer}.{kind}: {complaint}"


def _sublayer(hand: random.Random, keys: Keys, layer: int) -> str:
    """A sublayer that there isn't."""
    name, complaint = hand.choice(list(SUBLAYERS.items()))
    put(inside(inside(keys, "layers"), str(layer)), name, "0")
    return f"layers.{layer}.{name}: {complaint}"


def _layer(hand: random.Random, keys: Keys, layer: int) -> str:
    """A layer that is no mapping, or one of loose numbers."""
    value, complaint = hand.choice(list(LAYERS.items()))
    put(inside(keys, "layers"), str(layer), value)
    return f"layers.{layer}{complaint}"


def _number(hand: random.Random, keys: Keys, layer: int) -> str:
    """A layer that there isn't."""
    name = hand.choice([f"{layer + 5}", f"-{layer + 1}", f"layer{layer}"])
    inside(inside(keys, "layers"), name).append(("mlp", "0"))
    if name == f"{layer + 5}":
        return f"layers.{name}: the model has 5 layers, 0 to 4; take it out."
    said = name if name.startswith("-") else repr(name)
    return f"layers.{name}: {said} is no layer; write its number, 0 or more."


def _layer_again(hand: random.Random, keys: Keys, layer: int) -> str:
    """A layer that stands there already, in quotes or not."""
    layers = inside(keys, "layers")
    inside(layers, str(layer))
    layers.append((hand.choice([str(layer), f'"{layer}"']), "{mlp: 0}"))
    return f"layers.{layer}: stands here again (first in line "


def _sublayer_again(hand: random.Random, keys: Keys, layer: int) -> str:
    """A sublayer that stands there already."""
    kind = hand.choice(GROUP_TYPES)
    put(inside(keys, "layers"), str(layer), [(kind, "0"), (kind, "1")])
    return f"layers.{layer}.{kind}: stands here again (first in line "


def _pin(hand: random.Random, keys: Keys, layer: int) -> str:
    """A wish that nothing can keep."""
    kind, (value, complaint) = hand.choice(GROUP_TYPES), hand.choice(list(PINS.items()))
    put(inside(keys, "pin"), str(layer), [(kind, value)])
    return f"pin.{layer}.{kind}{complaint}"


MISTAKES: tuple[Callable[[random.Random, Keys, int], str], ...] = (
    *(_set, _set, _sublayer, _layer, _number, _layer_again, _sublayer_again, _pin, _pin),
)
