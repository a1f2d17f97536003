"""Where a result may not go; each refusal comes before anything is written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from applying import applied, bytes_below
from cutting import Removals, write_removals

from globalprune.apply.executor import check_apply
from globalprune.errors import UsageError

Tiny = Callable[[str], Path]


@pytest.fixture
def model(tiny: Tiny, tmp_path: Path) -> Path:
    """A model at work/models/tiny that a wrong -o could hurt."""
    return Path(shutil.copytree(tiny("llama"), tmp_path / "work" / "models" / "tiny"))


@pytest.fixture
def check(model: Path, tmp_path: Path) -> Callable[..., object]:
    """Ask whether a result may go to a place."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [1]}})
    return lambda out, *, overwrite=False: check_apply(str(model), plan, out, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    ("place", "text"),
    [
        (".", "is the model itself; choose another folder"),
        ("smaller/one", r"lies inside the model's folder .*/models/tiny; choose another"),
        ("..", r"holds the model .*/models/tiny; choose another"),
        ("../..", r"holds the model .*/models/tiny; choose another"),
        ("../link", "is the model itself; choose another folder"),
        ("../link/inside", "lies inside the model's folder"),
    ],
)
def test_the_model_is_never_in_danger(
    model: Path, check: Callable[..., None], place: str, text: str, *, overwrite: bool
) -> None:
    """Whatever way leads there, and whatever was said."""
    (model.parent / "link").symlink_to(model, target_is_directory=True)
    before = bytes_below(model)
    with pytest.raises(UsageError, match=text):
        check(model / place, overwrite=overwrite)
    assert bytes_below(model) == before


def test_a_name_that_only_begins_alike_is_fine(model: Path, check: Callable[..., None]) -> None:
    """tiny-20 doesn't lie in tiny."""
    check(model.parent / "tiny-20")


def test_an_empty_folder_is_free(tmp_path: Path, check: Callable[..., None]) -> None:
    """A folder that was made for the result needs no flag."""
    (tmp_path / "made").mkdir()
    check(tmp_path / "made")


def test_a_file_is_no_folder(tmp_path: Path, check: Callable[..., None]) -> None:
    """Nor is it overwritten."""
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match=r"notes: is a file; name a folder with -o"):
        check(tmp_path / "notes", overwrite=True)


@pytest.mark.parametrize("file", ["thesis.tex", "globalprune/errors.py"], ids=["any", "our source"])
def test_a_strangers_folder_is_never_replaced(
    tmp_path: Path, check: Callable[..., None], file: str
) -> None:
    """Not even by `--overwrite`, and not even if a folder in it has our name."""
    place = tmp_path / "theirs" / file
    place.parent.mkdir(parents=True)
    place.write_text("work of years")
    with pytest.raises(UsageError, match=r"theirs: is not empty; choose another folder or say --o"):
        check(tmp_path / "theirs")
    with pytest.raises(UsageError, match=r"holds nothing that globalprune wrote .*choose another"):
        check(tmp_path / "theirs", overwrite=True)


def test_our_own_result_is_replaced_only_when_told(
    model: Path, tmp_path: Path, check: Callable[..., None]
) -> None:
    """The flag is for this."""
    out = Path(applied(model, tmp_path, {0: {"mlp": [1]}}).out)
    with pytest.raises(UsageError, match=r"out: is not empty; choose another folder or say --over"):
        check(out)
    check(out, overwrite=True)


class Usage(NamedTuple):
    """What `shutil.disk_usage` tells."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize("missing", [0, 1], ids=["just enough", "a byte short"])
def test_a_small_disk_is_noticed_before_the_work(
    model: Path,
    tmp_path: Path,
    check: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
) -> None:
    """The weights that the plan leaves must fit; the folder need not exist for the disk to."""
    asked: list[Path] = []
    (tmp_path / "made").mkdir()
    made = Path(applied(model, tmp_path / "made", {0: {"mlp": [1]}}).out)
    needed = (made / "model.safetensors").stat().st_size

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(10**9, 0, needed - missing)

    monkeypatch.setattr("globalprune.models.checkpoints.result_folder.shutil.disk_usage", usage)
    place = tmp_path / "not" / "yet"
    if missing:
        with pytest.raises(UsageError, match=r"the result takes 0\.00 GB and .* free; make room"):
            check(place)
    else:
        check(place)
    assert asked == [tmp_path]


def test_what_a_person_put_into_a_result_is_not_deleted(
    model: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    """A result can be replaced, and what lies in it since can't be made again."""
    out = Path(applied(model, tmp_path / "work", {0: {"mlp": [2]}}).out)
    check(out, overwrite=True)
    (out / "MY_NOTES.md").write_text("mine")
    (out / "adapter").mkdir()

    with pytest.raises(UsageError, match=r"didn't write \(MY_NOTES.md, adapter\), which --overwri"):
        check(out, overwrite=True)


def test_every_file_of_a_result_is_known_as_its_own(
    model: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    """Uneven layers, licence, chat template and all: what apply wrote it may replace."""
    for name in ("LICENSE", "NOTICE.txt", "USE_POLICY.md", "chat_template.jinja", "vocab.json"):
        (model / name).write_text("x")
    gone: Removals = {0: {"attention": [0, 1, 2, 3]}, 1: {"mlp": [0, 5]}}
    out = Path(applied(model, tmp_path / "work", gone).out)

    assert (out / "modeling_globalprune.py").is_file()
    check(out, overwrite=True)


def test_a_result_is_as_open_as_the_umask_says(model: Path, tmp_path: Path) -> None:
    """A colleague can read the weights, as they can the rest."""
    out = Path(applied(model, tmp_path / "work", {0: {"mlp": [2]}}).out)
    modes = {path.name: path.stat().st_mode & 0o777 for path in out.iterdir() if path.is_file()}

    assert len(modes) > 3
    assert len(set(modes.values())) == 1, modes
