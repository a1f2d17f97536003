"""Even shares and global rankings take what was asked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peers.allocation import even_counts, global_cut, lowest
from peers.subject import Subject, removed_parameters, sublayers_of
from recipe_subjects import subject_in

from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.statistics.interface import SublayerKey

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def subject(tiny: Tiny) -> Subject:
    """Four layers of three attention groups and 24 channels."""
    return subject_in(tiny("qwen3"))


def taken(subject: Subject, counts: dict[SublayerKey, int]) -> int:
    """The parameters of so many groups."""
    return sum(count * subject.cost(sublayer) for sublayer, count in counts.items())


@given(share=st.floats(0.01, 0.99))
@example(share=0.953125)  # so near the end that rounding down would leave too little
@settings(deadline=None, max_examples=40)
def test_even_shares_reach_the_need_by_less_than_a_channel(subject: Subject, share: float) -> None:
    """Both sublayers lose the same share of every layer, as nearly as whole groups can."""
    need = int(share * subject.structure.prunable)
    mlp = subject.structure.layers[0].mlp

    counts = even_counts(subject, need)

    assert need <= taken(subject, counts) < need + mlp.cost
    for kind in GROUP_TYPES:
        own = [counts.get(sublayer, 0) for sublayer in sublayers_of(subject.structure, kind)]
        assert max(own) - min(own) <= 1
    groups = [counts.get(sublayer, 0) for sublayer in sublayers_of(subject.structure, "attention")]
    wanted = 12 * need / subject.structure.prunable
    assert abs(sum(groups) - wanted) <= (0.5 if 0.1 < share < 0.9 else 1)


def test_the_floor_takes_whole_groups_of_every_layer_or_none(subject: Subject) -> None:
    """A fifth of three groups is none: the channels give it all."""
    need = subject.structure.prunable // 5

    floor = even_counts(subject, need, heads="floor")
    spread = even_counts(subject, need)

    assert {kind for _, kind in floor} == {"mlp"}
    assert sum(count for (_, kind), count in spread.items() if kind == "attention") == 2


def test_some_layers_can_be_left_out(subject: Subject) -> None:
    """The others then give more."""
    counts = even_counts(subject, 3000, layers=range(1, 3))

    assert {layer for layer, _ in counts} == {1, 2}
    assert taken(subject, counts) >= 3000


def test_more_than_the_layers_hold_is_refused(subject: Subject) -> None:
    """The error names the need."""
    with pytest.raises(ValueError, match="parameters are more than 1 layers can give"):
        even_counts(subject, subject.structure.prunable // 2, layers=range(1))


def test_the_lowest_go_first() -> None:
    """Of equal scores, the first ones."""
    assert lowest(torch.tensor([2.0, 1.0, 1.0, 1.0]), 2).tolist() == [False, True, True, False]


def test_a_global_ranking_takes_the_lowest_of_all(subject: Subject) -> None:
    """Whatever layer it lies in; channels of the first layer go whole before anything else."""
    scores = {
        sublayer: torch.full((subject.outputs[sublayer].groups,), 9.0)
        for sublayer in subject.outputs
    }
    scores[0, "mlp"] = torch.arange(24.0) / 24
    mlp = subject.structure.layers[0].mlp

    gone = global_cut(subject, scores, 5 * mlp.cost - 1)

    assert gone[0, "mlp"].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert removed_parameters(subject.structure, gone) == 5 * mlp.cost


def test_the_last_group_takes_the_shared_norms_along(subject: Subject) -> None:
    """The q/k norms of an emptied attention are gone too, as a cut would have it."""
    sublayer = sublayers_of(subject.structure, "attention")[0]
    attention = subject.structure.layers[0].attention
    some, every = torch.tensor([True, True, False]), torch.tensor([True, True, True])

    assert removed_parameters(subject.structure, {sublayer: some}) == 2 * attention.cost
    assert removed_parameters(subject.structure, {sublayer: every}) == (
        3 * attention.cost + attention.shared
    )
    assert attention.shared > 0
