"""What becomes of a finetuning that was stopped: nothing is lost, and nothing is mixed up."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from applying import bytes_below
from tiny_finetunings import finetuned, losses, small, stopping, write_text

from globalprune.artifacts.results.finetuning import LoraSettings
from globalprune.errors import UsageError

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def stopped(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that was killed at its third step; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        finetuned(tiny("llama"), folder / "out", progress=stopping(3))
    return folder


@pytest.fixture
def again(stopped: Path, tmp_path: Path) -> Path:
    """Give a copy of it that a test may go on with; its text lies elsewhere."""
    shutil.copytree(stopped / "out.unfinished", tmp_path / "out.unfinished")
    return tmp_path / "out"


def test_a_run_that_is_stopped_leaves_its_checkpoints_and_no_result(stopped: Path) -> None:
    """OUT appears when all is done."""
    names = {path.name for path in stopped.iterdir()}
    assert names == {"out.unfinished", "text.txt"}
    checkpoints = {path.name for path in (stopped / "out.unfinished").glob("checkpoint-*")}
    assert checkpoints == {"checkpoint-1", "checkpoint-2"}


def test_the_next_start_must_say_what_becomes_of_it(tiny: Tiny, again: Path) -> None:
    """Neither half a run nor its time is lost without a word."""
    with pytest.raises(
        UsageError, match=r"out\.unfinished: holds a run that was stopped; say --resume to continue"
    ):
        finetuned(tiny("llama"), again)
    run = finetuned(tiny("llama"), again, overwrite=True)
    assert run.resumed_at is None
    assert not again.with_name("out.unfinished").exists()


def test_a_half_written_checkpoint_is_passed_over(tiny: Tiny, again: Path) -> None:
    """The one before it is whole."""
    work = again.with_name("out.unfinished")
    (work / "checkpoint-2" / "trainer_state.json").unlink()
    run = finetuned(tiny("llama"), again, resume=True)
    assert run.resumed_at == 1
    assert len(losses(again)) == 4


def test_without_a_whole_checkpoint_it_begins_anew(tiny: Tiny, again: Path) -> None:
    """As one that was stopped at its first step does."""
    for path in again.with_name("out.unfinished").glob("checkpoint-*/trainer_state.json"):
        path.unlink()
    run = finetuned(tiny("llama"), again, resume=True)
    assert run.resumed_at is None
    assert len(losses(again)) == 4


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "settings": ({"settings": small(learning_rate=2e-2)}, r"learning_rate was 0\.01, is 0\.02"),
    "adapters": ({"settings": small(lora=LoraSettings(r=2, alpha=8))}, r"lora\.r was 4, is 2"),
    "model": (
        {"model": "mistral"},
        r"model\.config\.json.*model\.model\.safetensors was sha256:\w+, is sha",
    ),
    "base of the tokenizer": ({"edit": "tokenizer.json"}, r"model\.tokenizer\.json was sha256"),
    "text": ({"settings": small(), "data": "other"}, "data was sha256:.*, is sha256:"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_only_the_same_run_is_resumed(tiny: Tiny, again: Path, kind: str) -> None:
    """What differs is named, and the saved run stays as it is."""
    changes, message = OTHER[kind]
    work = again.with_name("out.unfinished")
    before = bytes_below(work)
    data = write_text(again.parent)
    if "data" in changes:
        data.write_text("Something else. " * 200)
    model = tiny(changes.get("model", "llama"))
    if "edit" in changes:
        model = Path(shutil.copytree(model, again.parent / "model"))
        path = model / changes["edit"]
        path.write_text(path.read_text().replace("<unk>", "<gap>"))
    with pytest.raises(
        UsageError, match=rf"run\.json: can't be resumed, since another run was .*\({message}"
    ):
        finetuned(
            model,
            again,
            changes.get("settings"),
            data=[str(data)],
            resume=True,
        )
    assert bytes_below(work) == before


def test_a_strangers_folder_in_the_way_is_never_touched(tiny: Tiny, tmp_path: Path) -> None:
    """Not even with --overwrite: it holds no run of ours."""
    theirs = tmp_path / "out.unfinished"
    theirs.mkdir()
    (theirs / "novel.txt").write_text("Chapter one")
    wishes: list[dict[str, Any]] = [{"resume": True}, {"overwrite": True}]
    for wish in wishes:
        with pytest.raises(UsageError, match=r"is in the way and holds no unfinished run; move it"):
            finetuned(tiny("llama"), tmp_path / "out", **wish)
    assert bytes_below(theirs) == {"novel.txt": b"Chapter one"}
