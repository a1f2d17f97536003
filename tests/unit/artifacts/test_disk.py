"""Files that appear whole or not at all, and what is never written over."""

from pathlib import Path

import pytest

from globalprune.artifacts.disk import refuse_occupied, temporary_file, write_atomically
from globalprune.errors import UsageError


def everything_in(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("old", [None, b"old"], ids=["new file", "over an old one"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, old: bytes | None) -> None:
    """Neither half of the new file nor a stray beside it."""
    path = tmp_path / "table.parquet"
    if old:
        path.write_bytes(old)

    def write() -> None:
        with temporary_file(path) as temporary:
            temporary.write_bytes(b"hal")
            raise OSError("disk full")

    with pytest.raises(UsageError, match=r"groups|table.* can't be written \(disk full\); choose"):
        write()
    assert everything_in(tmp_path) == ({"table.parquet": old} if old else {})


@pytest.mark.parametrize("content", ["größe\n", "größe\n".encode()], ids=["text", "bytes"])
def test_a_write_that_works_is_all_that_is_there(tmp_path: Path, content: str | bytes) -> None:
    """Text is UTF-8 with its newlines as they are; missing folders are made."""
    path = tmp_path / "deep" / "er" / "file.json"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    write_atomically(path, content)
    assert everything_in(tmp_path) == {"deep/er/file.json": "größe\n".encode()}
    write_atomically(tmp_path / "made" / "file", content)
    assert (tmp_path / "made" / "file").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_free_place_is_free(tmp_path: Path, *, overwrite: bool) -> None:
    """A folder that isn't there, and an empty one."""
    refuse_occupied(tmp_path, ours=["analysis.json"], overwrite=overwrite)
    refuse_occupied(tmp_path / "new", ours=["analysis.json"], overwrite=overwrite)


def test_our_own_folder_is_replaced_only_when_that_was_said(tmp_path: Path) -> None:
    """The message names the option."""
    (tmp_path / "analysis.json").touch()
    refuse_occupied(tmp_path, ours=["x", "analysis.json"], overwrite=True)
    with pytest.raises(UsageError, match=r"is not empty; choose another folder or say --overwrite"):
        refuse_occupied(tmp_path, ours=["x", "analysis.json"], overwrite=False)


def test_a_strangers_folder_is_never_replaced(tmp_path: Path) -> None:
    """Not even with the option: a home folder is one typing error away."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        UsageError,
        match=r"holds nothing that globalprune wrote \(a or b\), so --overwrite won't touch it",
    ):
        refuse_occupied(tmp_path, ours=["a", "b"], overwrite=True)


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    """Whatever was said."""
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match=r"out: is a file; name a folder with -o"):
        refuse_occupied(tmp_path / "out", ours=["a"], overwrite=True)


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    """A file in the way is noticed before hours of measuring, not after."""
    (tmp_path / "file").write_text("mine")

    with pytest.raises(UsageError, match=r"out: can't be made, since .*file is a file; choose"):
        refuse_occupied(tmp_path / "file" / "deep" / "out", ours=["a"], overwrite=True)


def test_links_are_followed_and_kept(tmp_path: Path) -> None:
    """A linked file is written where it lies."""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
