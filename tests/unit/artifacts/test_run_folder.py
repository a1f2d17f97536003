"""OUT.unfinished: whose it is, and that it is only gone on with as the work that it is."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from applying import bytes_below

from globalprune.artifacts.records import Record
from globalprune.artifacts.run_folder import RUN_FILE, RunFolder
from globalprune.artifacts.staging import swap_folders
from globalprune.errors import UsageError

ASKED = {"model": "sha256:1", "settings": {"targets": ("q_proj",), "r": 8}, "teacher": None}


class Count(Record):
    """What is kept with tensors."""

    windows: int


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    """Give work that was started and saved something."""
    work = RunFolder.beside(tmp_path / "out")
    work.begin(ASKED, resume=False)
    (work.folder / "checkpoint").write_text("half way")
    return work


def test_it_lies_beside_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside one that is named by a link or from within a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert RunFolder.beside(Path("out")).folder == tmp_path.resolve() / "out.unfinished"
    assert RunFolder.beside(Path("link")).folder == tmp_path.resolve() / "real.unfinished"
    assert RunFolder.beside(Path("v1.5")).folder.name == "v1.5.unfinished"


def test_nothing_there_is_no_obstacle(tmp_path: Path) -> None:
    """Whatever was said of a run that might have been."""
    work = RunFolder.beside(tmp_path / "a" / "out")
    for resume, overwrite in ((False, False), (True, False), (False, True)):
        work.refuse_unfinished(resume=resume, overwrite=overwrite)
    work.begin(ASKED, resume=True)
    assert (work.folder / RUN_FILE).is_file()


def test_what_was_begun_waits_for_a_word(begun: RunFolder) -> None:
    """`--resume` or `--overwrite`."""
    with pytest.raises(UsageError, match=r"holds a run that was stopped; say --resume .*--overwri"):
        begun.refuse_unfinished(resume=False, overwrite=False)
    begun.refuse_unfinished(resume=True, overwrite=False)
    begun.refuse_unfinished(resume=False, overwrite=True)


def test_the_same_work_goes_on_where_it_was(begun: RunFolder) -> None:
    """Nothing of it is lost."""
    before = bytes_below(begun.folder)
    begun.begin(ASKED, resume=True)
    assert bytes_below(begun.folder) == before


def test_beginning_anew_leaves_nothing_of_the_old(begun: RunFolder) -> None:
    """Else a checkpoint of other work might be taken for one of this."""
    begun.begin({"model": "sha256:2"}, resume=False)
    assert bytes_below(begun.folder).keys() == {RUN_FILE}
    begun.begin({"model": "sha256:2"}, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "sha256:9"}, r"\(model was sha256:1, is sha256:9\)"),
        ({"teacher": "x", "model": "y"}, r"model was sha256:1, is y; teacher was None, is x"),
        ({"more": 1}, r"\(more was None, is 1\)"),
    ],
    ids=["one", "two", "a new one"],
)
def test_other_work_is_refused_by_what_differs(
    begun: RunFolder, changes: dict[str, object], message: str
) -> None:
    """And what lies there is kept."""
    before = bytes_below(begun.folder)
    with pytest.raises(UsageError, match=rf"run\.json: can't be resumed, .*{message}.*start again"):
        begun.begin(ASKED | changes, resume=True)
    assert bytes_below(begun.folder) == before


@pytest.mark.parametrize("content", ["", "{", "[]"], ids=["empty", "cut short", "a list"])
def test_a_damaged_note_of_what_was_asked_is_refused(begun: RunFolder, content: str) -> None:
    """Its run is then unknown."""
    (begun.folder / RUN_FILE).write_text(content)
    with pytest.raises(UsageError, match=r"run\.json: can't be read .*say --overwrite"):
        begun.begin(ASKED, resume=True)


def test_a_persons_folder_or_file_is_never_touched(tmp_path: Path) -> None:
    """What holds no note of ours is theirs."""
    work = RunFolder(tmp_path / "theirs.unfinished")
    work.folder.mkdir()
    (work.folder / "novel.txt").write_text("Chapter one")
    file = RunFolder(tmp_path / "file.unfinished")
    file.folder.write_text("Chapter two")
    for theirs in (work, file):
        for resume, overwrite in ((False, False), (True, False), (False, True)):
            with pytest.raises(UsageError, match="in the way and holds no unfinished run; move it"):
                theirs.refuse_unfinished(resume=resume, overwrite=overwrite)
    assert bytes_below(work.folder) == {"novel.txt": b"Chapter one"}


def test_it_is_gone_once_the_result_is_there(begun: RunFolder) -> None:
    """Checkpoints are larger than models."""
    begun.remove()
    assert not begun.folder.exists()


def test_only_work_of_ours_is_ever_removed(begun: RunFolder, tmp_path: Path) -> None:
    """A folder of that name without a word of what was asked is a person's."""
    other = RunFolder(tmp_path / "thesis.unfinished")
    other.folder.mkdir()
    (other.folder / "chapter").write_text("mine")
    for work in (begun, other):
        work.remove()
    assert not begun.folder.exists()
    assert (other.folder / "chapter").read_text() == "mine"


def test_a_stage_is_found_again_where_it_was_killed_as_it_was_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never what stood in its place before: that would be taken for this run's."""
    out, run = tmp_path / "out", RunFolder.beside(tmp_path / "out")
    for swapped in (True, False):
        (out / "globalprune").mkdir(parents=True)
        (out / "globalprune" / "metrics.json").write_text("old")
        run.begin(ASKED, resume=False)
        (run.folder / "cut").mkdir()
        (run.folder / "cut" / "metrics.json").write_text("new")

        def killed(folder: Path, target: Path, *, replace: bool, swapped: bool = swapped) -> None:
            assert replace
            if swapped:
                assert swap_folders(folder, target)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("globalprune.artifacts.run_folder.move_into_place", killed)
            with pytest.raises(KeyboardInterrupt):
                run.hand_over("cut", out, replace=True)
        run.begin(ASKED, resume=True)
        assert bytes_below(run.folder / "cut") == {"metrics.json": b"new"}
        run.hand_over("cut", out, replace=True)
        assert bytes_below(out) == {"metrics.json": b"new"}
        run.remove()
        shutil.rmtree(out)
        assert not list(tmp_path.iterdir())


def test_tensors_are_of_one_run(tmp_path: Path) -> None:
    """Bit for bit, with their record; another run's are as good as none."""
    tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor([1.5], dtype=torch.bfloat16)}
    run = RunFolder(tmp_path / "work", {"run": "1"})
    run.subfolder("orders").save_tensors("sublayer", tensors, Count(windows=3))
    run.save_parts("pass", [{"a": tensors["a"]}, {"b": tensors["b"]}], Count(windows=4))
    found = run.subfolder("orders").load_tensors("sublayer")
    many = run.load_parts("pass", Count)
    assert found is not None
    assert many is not None
    assert run.subfolder("orders").load_record_of("sublayer", Count) == Count(windows=3)
    assert many[0] == Count(windows=4)
    for kept in (found, {name: tensor for part in many[1] for name, tensor in part.items()}):
        assert all(torch.equal(kept[name], tensor) for name, tensor in tensors.items())
    for other in (RunFolder(tmp_path / "work", {"run": "2"}), RunFolder(None)):
        assert other.subfolder("orders").load_tensors("sublayer") is None
        assert other.subfolder("orders").load_record_of("sublayer", Count) is None
        assert other.load_parts("pass", Count) is None


def test_records_are_of_one_key(tmp_path: Path) -> None:
    """A file holds its key, and nothing is found by another name, under another key, or damaged."""
    run = RunFolder(tmp_path).with_key({"model": "sha256:1", "dtype": None})
    assert run.save_record("text", Count(windows=3)) == Count(windows=3)
    [path] = tmp_path.iterdir()
    assert path.name == f"text-{run.key_name}.json"
    assert json.loads(path.read_bytes()) == {
        "key": {"model": "sha256:1", "dtype": None},
        "windows": 3,
    }

    assert run.load_record("text", Count) == Count(windows=3)
    assert run.load_record("tasks", Count) is None
    assert RunFolder(tmp_path).load_record("text", Count) is None
    assert RunFolder(None).with_key({"model": "sha256:1"}).load_record("text", Count) is None
    for content in ("", "[]", "{}", '{"key": {}, "windows": "many"}', '{"key": {}, "windows": 3}'):
        path.write_text(content)
        assert run.load_record("text", Count) is None
