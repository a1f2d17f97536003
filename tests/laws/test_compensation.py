"""Compensation touches outputs, gates and ups behind a cut and the final norm; the plan decides."""

import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from applying import applied
from compensating import changed_in, compensated, differing, record_of
from cutting import LAYERS, Removals, groups_of, removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES

from globalprune.artifacts.structure import GROUP_TYPES, GroupType

Tiny = Callable[[str], Path]
COMPENSATED = {
    "attention": ["self_attn.o_proj.weight"],
    "mlp": [f"mlp.{one}_proj.weight" for one in ("down", "gate", "up", "gate_up")],
}


def behind_the_first_cut(family: str, gone: Removals) -> list[tuple[int, GroupType]]:
    """Every sublayer from the first that loses something on, of which something stays."""
    sublayers = [(layer, kind) for layer in range(LAYERS) for kind in GROUP_TYPES]
    lost = {sublayer: set(gone.get(sublayer[0], {}).get(sublayer[1], ())) for sublayer in sublayers}
    first = next(
        (place for place, sublayer in enumerate(sublayers) if lost[sublayer]), len(sublayers)
    )
    return [
        sublayer
        for sublayer in sublayers[first:]
        if len(lost[sublayer]) < groups_of(family, sublayer[1])
    ]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_only_what_lies_behind_a_cut_is_compensated(
    tiny: Tiny, family: str, data: st.DataObject
) -> None:
    """Each such sublayer once and in order; all other bits, and all that was not improved, stay."""
    gone = data.draw(removals(family))
    with tempfile.TemporaryDirectory() as name:
        folder, plain = Path(name), Path(name) / "plain"
        plain.mkdir()
        result = compensated(tiny(family), folder, gone)
        expected = applied(tiny(family), plain, gone)
        modules = record_of(result.out).modules
        places = [(module.layer_idx, module.group_type) for module in modules]
        assert places == behind_the_first_cut(family, gone)
        assert all(module.error_after <= module.error_before for module in modules)

        changed = changed_in(result.out)
        allowed = {
            f"model.layers.{layer}.{name}" for layer, kind in places for name in COMPENSATED[kind]
        }
        assert changed <= allowed | {"model.norm.weight"}
        numbers = {layer.origin_layer_idx: layer.layer_idx for layer in result.layers}
        assert differing(result.out, expected.out) == {
            re.sub(r"layers\.(\d+)", lambda found: f"layers.{numbers[int(found[1])]}", name)
            for name in changed
        }
        assert result.parameters_after == expected.parameters_after
        assert (result.layers, result.uneven) == (expected.layers, expected.uneven)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_plan_stays_the_identity(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """Law 2 holds with compensation too: nothing is off, so nothing is compensated."""
    result = compensated(tiny(family), tmp_path, {})
    assert differing(result.out, tiny(family)) == set()
    assert result.repaired_modules == 0


@settings(max_examples=4, deadline=None)
@given(gone=removals("qwen2"), seed=st.integers(0, 100))
def test_the_order_of_removals_changes_nothing(
    tiny: Tiny, gone: dict[int, dict[GroupType, list[int]]], seed: int
) -> None:
    """Layers, sublayers and numbers in any order are one cut, compensated to the same bits."""
    shuffle = random.Random(seed)  # noqa: S311 - no secret
    layers = shuffle.sample(sorted(gone), len(gone))
    other = {
        layer: {kind: shuffle.sample(groups, len(groups)) for kind, groups in gone[layer].items()}
        for layer in layers
    }
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = compensated(tiny("qwen2"), Path(one), gone)
        second = compensated(tiny("qwen2"), Path(two), other)
        assert differing(first.out, second.out) == set()
