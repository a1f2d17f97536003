"""Law 7: a hand edit is honoured exactly; a number deleted from the plan is a group that stays."""

import random
import tempfile
from pathlib import Path

from analyses import saved_analysis, structure_of
from hypothesis import given, settings
from hypothesis import strategies as st

from globalprune.artifacts.groups import GROUP_TYPES, GroupType, ModelStructure
from globalprune.artifacts.index_ranges import IndexRanges
from globalprune.artifacts.plan_effect import removed_by
from globalprune.artifacts.plan_file import read_plan
from globalprune.artifacts.prune_plan import PrunePlan
from globalprune.planning.review import review_plan
from globalprune.planning.writing import write_plans

Removed = set[tuple[int, GroupType, int]]


def removed(plan: PrunePlan, structure: ModelStructure) -> Removed:
    """Every group that goes."""
    return {
        (layer, kind, index)
        for layer, kind, indices in removed_by(plan, structure)
        for index in indices.tolist()
    }


def respelled(text: str, gone: Removed, shuffle: random.Random) -> str:
    """The file with other layers, as a person would type them: shuffled, commented, some quoted."""
    head = text[: text.index("\nlayers:") + 1]
    layers = sorted({layer for layer, _, _ in gone}, key=lambda _: shuffle.random())
    lines = ["layers:" if layers else "layers: {}"]
    for layer in layers:
        halves = []
        for kind in GROUP_TYPES:
            indices = [index for at, half, index in gone if (at, half) == (layer, kind)]
            shuffle.shuffle(indices)
            if indices:
                halves.append(f'{kind}: "{", ".join(map(str, indices))}"')
        key = f'"{layer}"' if shuffle.random() < 0.5 else str(layer)
        lines.append(f"  {key}: {{{', '.join(halves)}}}  # mine")
    return head + "\n".join(lines) + "\n"


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), ratio=st.floats(0.05, 0.5))
def test_an_edit_is_honoured_exactly(seed: int, ratio: float) -> None:
    """Groups deleted and added by hand are all that changes, and check lists exactly these."""
    shuffle = random.Random(seed)  # noqa: S311
    structure = structure_of(((2, 7), (2, 7), (2, 7)))
    with tempfile.TemporaryDirectory() as name:
        analysis = saved_analysis(Path(name), structure, seed)
        path = write_plans(analysis, [ratio])[0].path
        before = removed(read_plan(path), structure)
        everything = {
            (layer, kind, index)
            for layer, kind, half in structure.halves()
            for index in range(half.groups)
        }
        deleted = set(shuffle.sample(sorted(before), min(2, len(before))))
        standing = sorted(everything - before)
        added = set(shuffle.sample(standing, min(2, len(standing) - 1)))
        path.write_text(respelled(path.read_text("utf-8"), before - deleted | added, shuffle))
        review = review_plan(path)

        assert removed(review.plan, structure) == before - deleted | added
        assert review.known is not None
        assert review.known.edits is not None
        now_stays = {
            (half.layer_idx, half.group_type, index)
            for half in review.known.edits
            for index in half.only_first
        }
        now_goes = {
            (half.layer_idx, half.group_type, index)
            for half in review.known.edits
            for index in half.only_second
        }
        assert (now_stays, now_goes) == (deleted, added)


@settings(deadline=None, max_examples=60)
@given(indices=st.sets(st.integers(0, 200)))
def test_ranges_name_exactly_their_indices(indices: set[int]) -> None:
    """Whatever set of numbers is written, the same set is read."""
    assert set(IndexRanges.parse(str(IndexRanges.of(indices)))) == indices
