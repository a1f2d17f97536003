"""Accumulators of a pass on disk: whole, seldom, and never at the cost of the pass."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import measuring
import pytest
import torch
from tiny_models import random_ids

from globalprune.artifacts.run_folder import RunFolder
from globalprune.statistics import checkpointing
from globalprune.statistics.checkpointing import KeptPass, SoFar
from globalprune.statistics.collect import collect
from globalprune.statistics.interface import Site
from globalprune.statistics.reducers.fisher import GateFisher

ROWS = tuple(random_ids(4, 6))


class Told:
    """A reducer that holds one number, and was told another."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def state(self) -> dict[str, torch.Tensor]:
        """The number."""
        return {"value": torch.tensor(self.value)}

    def restore(self, state: Mapping[str, torch.Tensor], sites: Sequence[Site]) -> None:
        """Take it back."""
        del sites
        self.value = float(state["value"])


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


def test_the_newest_is_gone_on_from(tmp_path: Path) -> None:
    """Every reducer gets its own back, and what was kept before is gone."""
    kept = KeptPass(RunFolder(tmp_path), to_its_end=True)
    for windows in (8, 12):
        first, second = Told(windows + 0.25), Told(-windows)
        kept.offer([first, second], SoFar(windows=windows, predicted=40, nll=1.5), ended=True)  # type: ignore[list-item]
    found = Told(), Told()
    so_far = KeptPass(RunFolder(tmp_path)).restore(found, [])  # type: ignore[arg-type]
    assert so_far == SoFar(windows=12, predicted=40, nll=1.5)
    assert [reducer.value for reducer in found] == [12.25, -12]
    assert [path.name for path in tmp_path.iterdir()] == ["pass"]


def test_without_anything_kept_it_begins_at_the_first_window(tmp_path: Path) -> None:
    """And the reducers are left alone."""
    reducer = Told(3.0)
    assert KeptPass(RunFolder(tmp_path)).restore([reducer], []) == SoFar()  # type: ignore[list-item]
    assert reducer.value == 3.0


def test_a_twentieth_of_the_time_goes_into_writing_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the first minute; what took 10 seconds to write is written again after 200."""
    clock = Clock(writing=10.0)
    monkeypatch.setattr("time.monotonic", clock)
    monkeypatch.setattr("safetensors.torch.save_file", clock.save_file)
    kept, written = KeptPass(RunFolder(tmp_path)), []
    for second in range(1, 500):
        clock.now += 1
        before = clock.now
        kept.offer([Told()], SoFar(windows=second), ended=False)  # type: ignore[list-item]
        if clock.now > before:
            written.append(second)
    assert written == [60, 260, 460]


@pytest.mark.parametrize("to_its_end", [True, False], ids=["more follows", "nothing follows"])
def test_the_end_is_kept_where_more_work_follows(tmp_path: Path, to_its_end: bool) -> None:
    """Else the accumulators, which may be as large as the model, are written for nothing."""
    kept = KeptPass(RunFolder(tmp_path), to_its_end=to_its_end)
    kept.offer([Told()], SoFar(windows=4), ended=True)  # type: ignore[list-item]
    assert (tmp_path / "pass").exists() == to_its_end


def test_a_full_disk_ends_the_keeping_and_not_the_pass(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, and the numbers are what they would have been."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing, "PAUSE", 0.0)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    windows = measuring.windows_of(ROWS)
    kept = KeptPass(RunFolder(tmp_path))
    found = collect(model, windows, sites, {"gate_fisher"}, batch_size=2, kept=kept)
    alone = collect(model, windows, sites, {"gate_fisher"}, batch_size=2)
    assert kept.trouble is not None
    assert "No space left on device" in kept.trouble
    assert not list(tmp_path.iterdir())
    for sublayer, sums in alone.sums["gate_fisher"].items():
        assert torch.equal(found.sums["gate_fisher"][sublayer], sums)


def test_large_accumulators_are_written_in_parts(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory holds little more than one of them twice."""
    monkeypatch.setattr(checkpointing, "_PART_BYTES", 64)
    model = measuring.loaded(tiny("llama"))
    sites = measuring.sites_of(model, tiny("llama"))
    kept = KeptPass(RunFolder(tmp_path), to_its_end=True)
    windows = measuring.windows_of(ROWS)
    collect(model, windows, sites, {"gate_fisher"}, batch_size=2, kept=kept)
    assert len(list((tmp_path / "pass").glob("*.safetensors"))) > 1
    before, after = GateFisher(), GateFisher()
    assert KeptPass(RunFolder(tmp_path)).restore([before], sites).windows == 4
    after.restore(before.state(), sites)
    assert before.state().keys() == after.state().keys() != set()
