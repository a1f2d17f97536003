"""The methods that there are, and how they are asked for."""

import pytest
import torch

from globalprune.errors import UsageError
from globalprune.importance import IMPORTANCES, importances_named
from globalprune.options import DEFAULT_IMPORTANCE
from globalprune.statistics.interface import Statistic

ONE_GROUP: dict[Statistic, torch.Tensor] = {
    "first_order": torch.tensor([2.0]),
    "curvature": torch.tensor([5.0]),
    "gate_fisher": torch.tensor([3.0]),
    "gate_fisher_winsorised": torch.tensor([13.0]),
    "magnitude": torch.tensor([7.0]),
    "input_rms": torch.tensor([11.0]),
    "removal_loss": torch.tensor([17.0]),
    "measured_removal_loss": torch.tensor([19.0]),
}


def test_methods_keep_the_order_in_which_they_were_named() -> None:
    """The first scores the table; naming one twice is no more than naming it once."""
    found = importances_named(["wanda", "taylor", "wanda"])
    assert [method.name for method in found] == ["wanda", "taylor"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["taylor", "magic", "Taylor"], "magic, Taylor is not known"),
        ([], "no method is named"),
    ],
    ids=["unknown", "none"],
)
def test_an_unknown_method_is_refused_with_those_that_there_are(
    names: list[str], found: str
) -> None:
    """All unknown names at once, and the known ones to choose from."""
    with pytest.raises(
        UsageError, match=rf"^--importance: {found}; there are taylor, taylor_2nd, .*wanda"
    ):
        importances_named(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("taylor", 2.0),
        ("taylor_2nd", 2.0 + 5.0),
        ("fisher", 3.0),
        ("fisher_winsorised", 13.0),
        ("obs", 17.0),
        ("obs_measured", 19.0),
        ("wanda", 7.0 * 11.0),
        ("magnitude", 7.0),
    ],
)
def test_a_method_combines_only_what_it_says_it_needs(name: str, expected: float) -> None:
    """A statistic that was not declared would be missing from the pass."""
    method = IMPORTANCES[name]
    handed = {need: ONE_GROUP[need] for need in method.needs}
    assert method.combine(handed).tolist() == [expected]


def test_only_estimates_of_loss_may_rank_all_layers() -> None:
    """Others are normalised: raw wanda destroys a model that it ranks globally."""
    in_nats = {name for name, method in IMPORTANCES.items() if method.in_nats}
    obs = {"obs", "obs_measured"}
    assert in_nats == {"taylor", "taylor_2nd", "fisher", "fisher_winsorised"} | obs
    assert IMPORTANCES[DEFAULT_IMPORTANCE].in_nats
    assert in_nats == {name for name, m in IMPORTANCES.items() if m.normaliser == "none"}


def test_the_registry_knows_every_method_by_its_own_name() -> None:
    """The table's columns are called by `name`, and are looked up by the registry's."""
    assert all(method.name == name for name, method in IMPORTANCES.items())
