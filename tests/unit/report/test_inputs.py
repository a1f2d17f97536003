"""What a path is, what it is called, and what is said of a path that is nothing."""

from pathlib import Path

import pytest

from globalprune.errors import UsageError
from globalprune.report.inputs import display_names, find_input


def laid(folder: Path, *names: str) -> Path:
    """A folder with these files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("analysis.json", "records", "."),
        ("evaluation.json", "records", "."),
        ("sweep.json", "records", "."),
        ("globalprune/metrics.json", "result", "globalprune"),
        ("globalprune/recovery.json", "result", "globalprune"),
        ("metrics.json", "result", "."),
    ],
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, name: str, kind: str, place: str) -> None:
    """A result's own folder may be named too."""
    found = find_input(laid(tmp_path, name))

    assert (found.kind, found.location) == (kind, tmp_path / place)


def test_a_yaml_file_is_a_plan(tmp_path: Path) -> None:
    """Whether it is a good one, its reader says."""
    assert find_input(laid(tmp_path, "a.yml") / "a.yml").kind == "plan"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere",
            r"nowhere: there is no such file or folder; name a plan \(\.yaml\), or a folder",
        ),
        ("x.txt", r"x\.txt: is a file and no plan; name a plan \(\.yaml\), or a folder that gp"),
        ("d/analysis.json", r"is a file and no plan; name the folder that it lies in, \S+/d\."),
        (
            "empty",
            r"empty: holds none of analysis\.json, evaluation\.json, sweep\.json, globalprune",
        ),
    ],
    ids=lambda value: value[:12],
)
def test_anything_else_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """By where, what was found, and what to name."""
    laid(tmp_path, "x.txt", "d/analysis.json", "empty/model.safetensors")
    with pytest.raises(UsageError, match=message):
        find_input(tmp_path / name)


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    """Nothing of where the files lie enters the page, but what tells two of a name apart."""
    paths = [tmp_path / "a" / "plan.yaml", tmp_path / "b" / "plan.yaml", tmp_path / "out"]

    assert display_names(paths) == ["a/plan.yaml", "b/plan.yaml", "out"]
    assert display_names(paths[:1]) == ["plan.yaml"]
