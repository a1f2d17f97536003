"""Law 6: an analysis that was killed and is resumed comes to the same importances, bit for bit."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
from analysing import write_ids
from cutting import Removals, write_removals
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, MIXTURES

from globalprune.analysis.analyzer import analyze_model
from globalprune.artifacts.analyses.analysis import ANALYSIS_FILE, read_analysis
from globalprune.artifacts.own_files import ANALYZE_LOG, DESCRIPTION_FILE
from globalprune.errors import UsageError
from globalprune.importance import IMPORTANCES
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import AnalyzeOptions
from globalprune.progress import Progress, Reporter, silent

Item = TypeVar("Item")
Tiny = Callable[[str], Path]
ORDERED = [name for name, method in IMPORTANCES.items() if method.counts_on_compensation]
GONE: Removals = {1: {"mlp": [0, 3, 7]}, 2: {"attention": [1]}}
OWN = ("seconds", "peak_memory_bytes", "command", "calibration")  # clock, memory, place


def keeping_all() -> AbstractContextManager[object]:
    """Let every batch be written, however long that takes."""
    return mock.patch.multiple("globalprune.statistics.collect", PAUSE=0.0, SHARE=0)


class Killed(BaseException):
    """What nothing on the way catches."""


class Fuse:
    """Lets so many steps of the bars pass, whatever their phases, and then kills."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def __call__(
        self, items: Iterable[Item], *, total: int, label: str, unit: str
    ) -> Iterator[Item]:
        """Yield while it holds; an item is only passed once its work was done."""
        del total, label, unit
        for item in items:
            yield item
            self._left -= 1
            if self._left < 0:
                raise Killed


def analysed(
    model: Path,
    folder: Path,
    progress: Progress = silent,
    *,
    giving: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Analyse by every method that this model has, behind a plan where one is given."""
    mixture = any(name in model.name for name in MIXTURES)  # whose experts have no orders
    options = AnalyzeOptions(
        data=write_ids(folder / "ids.jsonl"),
        importances=tuple(name for name in IMPORTANCES if not (mixture and name in ORDERED)),
        batch_size=2,
        prior_plan=write_removals(folder / "plan.yaml", GONE) if giving else None,
        compensate=giving,
        resume=resume,
        overwrite=overwrite,
    )
    analyze_model(PreparedModel(model), folder / "out", options, reporter=Reporter(progress))


def contents(folder: Path) -> dict[str, object]:
    """The analysis without what clock, memory and place say."""
    analysis = read_analysis(folder / "out")
    record = analysis.record.model_dump(exclude=set(OWN))
    left_out = {ANALYSIS_FILE, DESCRIPTION_FILE, ANALYZE_LOG}
    files = {path.name: path for path in (folder / "out").iterdir() if path.name not in left_out}
    columns = {name: values.tobytes() for name, values in analysis.table.importances.items()}
    return {"record": record, "files": sorted(files), **columns}


@cache
def unbroken(model: Path, *, giving: bool) -> dict[str, object]:
    """The same without a stop."""
    with tempfile.TemporaryDirectory() as name:
        analysed(model, Path(name), giving=giving)
        return contents(Path(name))


@pytest.mark.parametrize("family", [*FAMILIES, *MIXTURES])
@settings(max_examples=4, deadline=None)
@given(stops=st.lists(st.integers(0, 24), min_size=1, max_size=3))
def test_a_kill_and_resume_change_no_importance(tiny: Tiny, family: str, stops: list[int]) -> None:
    """Wherever it was killed, and how often."""
    model = tiny(family)
    with tempfile.TemporaryDirectory() as name, keeping_all():
        killed_and_resumed(model, Path(name), stops, giving=False)
        assert contents(Path(name)) == unbroken(model, giving=False)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(stops=st.lists(st.integers(0, 30), min_size=1, max_size=3))
def test_neither_do_they_behind_a_plan_that_is_compensated(tiny: Tiny, stops: list[int]) -> None:
    """What compensation solved is kept too."""
    with tempfile.TemporaryDirectory() as name, keeping_all():
        killed_and_resumed(tiny("qwen2"), Path(name), stops, giving=True)
        assert contents(Path(name)) == unbroken(tiny("qwen2"), giving=True)


def killed_and_resumed(model: Path, folder: Path, stops: list[int], *, giving: bool) -> None:
    """Kill it after each of these numbers of steps, resume every time, and let it end."""
    for number, steps in enumerate(stops):
        try:
            analysed(model, folder, Fuse(steps), giving=giving, resume=number > 0)
        except Killed:
            continue
        return
    analysed(model, folder, giving=giving, resume=True)


def test_what_was_kept_is_not_done_again(tiny: Tiny, tmp_path: Path) -> None:
    """Two batches were through when it was killed, and they aren't run again."""
    whole, rest = Counter(), Counter()
    analysed(tiny("llama"), tmp_path, whole)
    (tmp_path / "again").mkdir()
    with keeping_all():
        with pytest.raises(Killed):
            analysed(tiny("llama"), tmp_path / "again", Fuse(1))
        analysed(tiny("llama"), tmp_path / "again", rest, resume=True)
    assert rest.steps["measuring"] == whole.steps["measuring"] - 2
    assert not (tmp_path / "again" / "out.unfinished").exists()


class Counter:
    """Counts the steps of each phase."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}

    def __call__(
        self, items: Iterable[Item], *, total: int, label: str, unit: str
    ) -> Iterator[Item]:
        """Yield them all."""
        del total, unit
        for item in items:
            self.steps[label] = self.steps.get(label, 0) + 1
            yield item


def test_other_work_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Another text or another importance would make a mixture of two analyses."""
    with keeping_all(), pytest.raises(Killed):
        analysed(tiny("llama"), tmp_path, Fuse(3))
    with pytest.raises(
        UsageError, match=r"out\.unfinished: holds a run that was stopped; say --res"
    ):
        analysed(tiny("llama"), tmp_path)
    options = AnalyzeOptions(data=str(tmp_path / "ids.jsonl"), resume=True)
    with pytest.raises(UsageError, match=r"run\.json: can't be resumed.*importances was \["):
        analyze_model(PreparedModel(tiny("llama")), tmp_path / "out", options)
    other = Path(shutil.copytree(tiny("llama"), tmp_path / "llama"))
    (other / "generation_config.json").write_text('{"eos_token_id": 7}')
    with pytest.raises(UsageError, match=r"\(model\.generation_config\.json.* is .*7"):
        analysed(other, tmp_path, resume=True)
    analysed(tiny("llama"), tmp_path, overwrite=True)
    assert not (tmp_path / "out.unfinished").exists()
