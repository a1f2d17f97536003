"""The files of an analysis come into their folder all together, or none of them."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from globalprune.analyze.output import staged_analysis

FILES = {"groups.parquet", "analysis.json", "description.txt", "analyze.log"}


def write(out: Path, contents: Mapping[str, str]) -> None:
    """Write these files through staging."""
    with staged_analysis(out) as folder:
        for name, content in contents.items():
            (folder / name).write_text(content)


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    """And nothing but the analysis is left, beside it neither."""
    out = tmp_path / "a" / "b"
    write(out, dict.fromkeys(FILES, "new"))
    assert contents(out) == dict.fromkeys(FILES, "new")
    assert list(out.parent.iterdir()) == [out]


def test_what_else_lies_in_the_folder_stays(tmp_path: Path) -> None:
    """A person's plan must survive a second analysis."""
    write(tmp_path / "out", dict.fromkeys(FILES, "old"))
    (tmp_path / "out" / "plan.yaml").write_text("mine")
    write(tmp_path / "out", dict.fromkeys(FILES, "new"))
    assert contents(tmp_path / "out") == dict.fromkeys(FILES, "new") | {"plan.yaml": "mine"}


@pytest.mark.parametrize("before", [None, "old"], ids=["new folder", "over an old analysis"])
def test_a_failure_while_writing_changes_nothing(tmp_path: Path, before: str | None) -> None:
    """A full disk leaves the old analysis whole, or no folder at all."""
    out = tmp_path / "out"
    if before:
        write(out, dict.fromkeys(FILES, before))
    there = contents(out) if before else None
    with pytest.raises(OSError, match="no space left"):
        write_half(out)
    assert (contents(out) if before else None) == there
    assert list(tmp_path.iterdir()) == ([out] if before else [])


def write_half(out: Path) -> None:
    """Write two of the files, then fail."""
    with staged_analysis(out) as folder:
        for name in ("groups.parquet", "description.txt"):
            (folder / name).write_text("half")
        raise OSError("no space left")


def test_a_folder_on_another_disk_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be a link or a mount: files are staged on the disk where they will lie."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").symlink_to(elsewhere)

    def within_one_disk(path: Path, target: Path) -> Path:
        """Rename as an operating system does when `elsewhere` is a disk of its own."""
        if path.resolve().is_relative_to(elsewhere) != target.resolve().is_relative_to(elsewhere):
            raise OSError("invalid cross-device link")
        os.replace(path, target)  # noqa: PTH105
        return target

    monkeypatch.setattr(Path, "replace", within_one_disk)
    write(tmp_path / "out", dict.fromkeys(FILES, "new"))
    assert contents(elsewhere) == dict.fromkeys(FILES, "new")
