"""Accumulators of a pass on disk: whole, seldom, and never at the cost of the pass."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import measuring
import pytest
import torch
from tiny_models import random_ids

from globalprune.artifacts.run_folder import RunFolder
from globalprune.statistics.collect import PassCheckpoint, PassTotals, collect
from globalprune.statistics.interface import (
    Counts,
    GradientAt,
    GroupSums,
    Reducer,
    Site,
    Split,
    Statistic,
)
from globalprune.statistics.reducers.fisher import GateFisher

ROWS = tuple(random_ids(4, 6))


class OneNumber(Reducer):
    """A reducer whose state is one number."""

    gradient_at: GradientAt | None = None

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The number."""
        return {"value": torch.tensor(self.value)}

    def load_state_dict(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Restore it."""
        del sites
        self.value = float(state["value"])

    def end_first_half(self) -> None:
        """There is no first half."""

    def finish(self, counts: Split[Counts]) -> dict[Statistic, Split[GroupSums]]:
        """Nothing comes of it."""
        del counts
        return {}


class Clock:
    """Time that passes only when it is told to, and while something is written."""

    def __init__(self, writing: float) -> None:
        self.now = 0.0
        self.writing = writing

    def __call__(self) -> float:
        """What it shows."""
        return self.now

    def save_file(self, _: object, path: str, **__: object) -> None:
        """Take that long."""
        Path(path).touch()
        self.now += self.writing


def test_a_pass_resumes_from_the_newest_state(tmp_path: Path) -> None:
    """Every reducer gets its own tensors back, and the older state is gone."""
    checkpoint = PassCheckpoint(RunFolder(tmp_path), at_end=True)
    for windows in (8, 12):
        first, second = OneNumber(windows + 0.25), OneNumber(-windows)
        checkpoint.save_if_due(
            [first, second], PassTotals(windows=windows, predicted=40, nll=1.5), ended=True
        )
    found = OneNumber(), OneNumber()
    totals = PassCheckpoint(RunFolder(tmp_path)).load(found, [])
    assert totals == PassTotals(windows=12, predicted=40, nll=1.5)
    assert [reducer.value for reducer in found] == [12.25, -12]
    assert [path.name for path in tmp_path.iterdir()] == ["pass"]


def test_without_a_checkpoint_it_begins_at_the_first_window(tmp_path: Path) -> None:
    """And the reducers are left alone."""
    reducer = OneNumber(3.0)
    assert PassCheckpoint(RunFolder(tmp_path)).load([reducer], []) == PassTotals()
    assert reducer.value == 3.0


def test_a_twentieth_of_the_time_goes_into_writing_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the first minute; what took 10 seconds to write is written again after 200."""
    clock = Clock(writing=10.0)
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr("safetensors.torch.save_file", clock.save_file)
    checkpoint, written = PassCheckpoint(RunFolder(tmp_path)), []
    for second in range(1, 500):
        clock.now += 1
        before = clock.now
        checkpoint.save_if_due([OneNumber()], PassTotals(windows=second), ended=False)
        if clock.now > before:
            written.append(second)
    assert written == [60, 260, 460]


@pytest.mark.parametrize("at_end", [True, False], ids=["more follows", "nothing follows"])
def test_the_end_is_saved_where_more_work_follows(tmp_path: Path, at_end: bool) -> None:
    """Else the accumulators, which may be as large as the model, are written for nothing."""
    checkpoint = PassCheckpoint(RunFolder(tmp_path), at_end=at_end)
    checkpoint.save_if_due([OneNumber()], PassTotals(windows=4), ended=True)
    assert (tmp_path / "pass").exists() == at_end


def test_a_full_disk_ends_the_saving_and_not_the_pass(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is noted once, and no number changes."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("globalprune.statistics.collect.PAUSE", 0.0)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    windows = measuring.windows_of(ROWS)
    checkpoint = PassCheckpoint(RunFolder(tmp_path))
    found = collect(model, windows, sites, {"gate_fisher"}, batch_size=2, checkpoint=checkpoint)
    alone = collect(model, windows, sites, {"gate_fisher"}, batch_size=2)
    assert checkpoint.failure is not None
    assert "No space left on device" in checkpoint.failure
    assert not list(tmp_path.iterdir())
    for sublayer, sums in alone.sums["gate_fisher"].items():
        assert torch.equal(found.sums["gate_fisher"][sublayer], sums)


def test_large_accumulators_are_written_in_parts(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory holds little more than one of them twice."""
    monkeypatch.setattr("globalprune.statistics.collect._PART_BYTES", 64)
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    checkpoint = PassCheckpoint(RunFolder(tmp_path), at_end=True)
    windows = measuring.windows_of(ROWS)
    collect(model, windows, sites, {"gate_fisher"}, batch_size=2, checkpoint=checkpoint)
    assert len(list((tmp_path / "pass").glob("*.safetensors"))) > 1
    before, after = GateFisher(), GateFisher()
    assert PassCheckpoint(RunFolder(tmp_path)).load([before], sites).windows == 4
    after.load_state_dict(before.state_dict(), sites)
    assert before.state_dict().keys() == after.state_dict().keys() != set()
