"""What `--data` names, decided without reading text or asking the network."""

import os
import socket
from pathlib import Path

import pytest

from globalprune.errors import TextError
from globalprune.text.source import (
    BuiltinText,
    HubText,
    LocalText,
    WeightedSource,
    parse_mixture,
    parse_source,
)


@pytest.mark.parametrize(
    ("text", "dataset", "config", "split"),
    [
        ("wikitext", "wikitext", None, "train"),
        ("owner/data", "owner/data", None, "train"),
        ("owner/data:test", "owner/data", None, "test"),
        ("owner/data:sample-10BT", "owner/data", "sample-10BT", "train"),
        ("owner/data:en:validation", "owner/data", "en", "validation"),
        ("owner/data::held_out", "owner/data", None, "held_out"),
        ("owner/data:train:", "owner/data", "train", "train"),
    ],
    ids=["bare", "owner", "split", "config", "both", "unusual split", "config called train"],
)
def test_a_hub_id_is_taken_apart(
    text: str,
    dataset: str,
    config: str | None,
    split: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`id[:config][:split]`; a single part is a split if it is a usual name of one."""
    monkeypatch.chdir(tmp_path)
    assert parse_source(text) == HubText(text, dataset, config, split)


def test_an_existing_local_path_wins_over_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`owner/data` could be a Hub id; here it is a folder, whatever the order on disk."""
    monkeypatch.chdir(tmp_path)
    folder = Path("owner/data")
    folder.mkdir(parents=True)
    for name in ("b.txt", "a.jsonl", "c.parquet", ".hidden.txt", "README.md"):
        (folder / name).touch()
    (folder / "deeper.txt").mkdir()
    expected = tuple(folder / name for name in ("a.jsonl", "b.txt", "c.parquet"))
    assert parse_source("owner/data") == LocalText("owner/data", expected)


def test_builtin_wins_over_a_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word always means the same; `./builtin` is the path."""
    monkeypatch.chdir(tmp_path)
    Path("builtin").mkdir()
    Path("builtin/a.txt").touch()
    assert parse_source("builtin") == BuiltinText()
    assert parse_source("./builtin") == LocalText("./builtin", (Path("builtin/a.txt"),))


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet", "arrow"])
def test_one_file_is_a_source(tmp_path: Path, suffix: str) -> None:
    """Each of the four suffixes is read."""
    file = tmp_path / f"rows.{suffix}"
    file.touch()
    assert parse_source(str(file)) == LocalText(str(file), (file,))


def test_the_home_folder_is_written_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell would read it; the record keeps what was typed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").touch()
    assert parse_source("~/a.txt") == LocalText("~/a.txt", (tmp_path / "a.txt",))


@pytest.mark.parametrize(
    "text",
    [
        "./nowhere",
        "/nowhere/at/all",
        "../up",
        "~/no-such",
        "C:\\texts",
        "notes.txt",
        "a/b.jsonl",
        "data.csv",
        "rows.json",
        "dump.jsonl.gz",
    ],
)
def test_a_missing_file_is_never_looked_for_on_the_hub(text: str) -> None:
    """A mistyped path is answered at once, with what text may be."""
    with pytest.raises(
        TextError, match=r"there is no such file or folder\. Text is a \.txt, .*or `builtin`\.$"
    ):
        parse_source(text)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("rows.csv", r"the suffix `\.csv`"),
        ("rows.json", r"the suffix `\.json`"),
        ("TEXT.TXT", r"the suffix `\.TXT`"),
        ("rows", "no suffix"),
    ],
)
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str, found: str) -> None:
    """The message names the suffix and the ones that are read."""
    (tmp_path / name).touch()
    with pytest.raises(
        TextError,
        match=rf"{name}: has {found}, which names no kind of text\. Text is a \.txt, \.jsonl",
    ):
        parse_source(str(tmp_path / name))


@pytest.mark.parametrize(
    ("names", "found"),
    [((), "nothing"), (("a.csv", "b.md"), r"a\.csv, b\.md"), ((".hidden.txt",), "nothing")],
    ids=["empty", "others", "hidden"],
)
def test_a_folder_without_text_is_refused(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    """The message lists what lies in it instead."""
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(
        TextError, match=rf"holds no \.txt, \.jsonl, \.parquet, \.arrow file \(found {found}\)"
    ):
        parse_source(str(tmp_path))


@pytest.mark.parametrize("text", ["two words", "a/b/c", "id:config:split:more", ":train", "-x"])
def test_what_is_neither_path_nor_id_is_refused(text: str) -> None:
    """The message shows how an id is written."""
    with pytest.raises(
        TextError, match=r"is neither a path nor a Hub id \(id\[:config\]\[:split\]\)"
    ):
        parse_source(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a" * 5_000, "File name too long"), ("~no-such-person/a.txt", "home directory")],
    ids=["too long", "nobody's home"],
)
def test_a_path_that_the_system_refuses_is_refused(text: str, reason: str) -> None:
    """What the system says becomes a message of ours."""
    with pytest.raises(TextError, match=rf"can't be looked up \(.*{reason}.*\)\. Text is a"):
        parse_source(text)


@pytest.mark.parametrize("in_folder", [False, True], ids=["named", "in a folder"])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "dead link"])
def test_what_is_no_file_is_refused_before_it_is_opened(
    tmp_path: Path, kind: str, in_folder: bool
) -> None:
    """Reading a pipe waits for ever, and /dev/zero has no end."""
    path = tmp_path / "a.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/nowhere")
    told = "no such file|is a broken link" if kind == "dead link" else "is a pipe, a socket"
    with pytest.raises(TextError, match=rf"a\.txt: .*({told})"):
        parse_source(str(tmp_path if in_folder else path))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Give a file of text."""
    path = tmp_path / "a.txt"
    path.write_text("text")
    return path


def test_a_weight_stands_behind_an_at_sign_and_is_1_where_none_does(text: Path) -> None:
    """Paths and Hub ids take one alike, and the source's name is without it."""
    parts = parse_mixture([f"{text}@0.7", f"{text}", "org/set:name:train@3e-1"])
    assert parts == (
        WeightedSource(LocalText(str(text), (text,)), 0.7),
        WeightedSource(LocalText(str(text), (text,)), 1.0),
        WeightedSource(HubText("org/set:name:train", "org/set", "name", "train"), 0.3),
    )


@pytest.mark.parametrize("name", ["a@0.5.txt", "a@0.txt", "folder@2"])
def test_a_file_whose_name_has_an_at_sign_wins(tmp_path: Path, name: str) -> None:
    """What exists as it stands is never taken apart, though part of it may exist too."""
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    if path.suffix == ".txt":
        path.write_text("text")
    else:
        path.mkdir()
        (path / "a.txt").write_text("text")
    (part,) = parse_mixture([str(path)])
    assert (part.source.name, part.weight) == (str(path), 1.0)


def test_such_a_file_takes_a_weight_too(tmp_path: Path) -> None:
    """Only what stands behind the last @ can be a weight."""
    path = tmp_path / "a@b.txt"
    path.write_text("text")
    (part,) = parse_mixture([f"{path}@0.25"])
    assert (part.source.name, part.weight) == (str(path), 0.25)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("much", r"the part behind @ is the source's weight, and 'much' is no number; write"),
        ("0", r"the weight 0 is not a number above 0 "),
        ("-1", r"the weight -1 is not a number above 0 "),
        ("nan", r"the weight nan is not a number above 0 "),
        ("inf", r"the weight inf is not a number above 0 "),
    ],
    ids=["a word", "zero", "negative", "nan", "infinite"],
)
def test_what_is_no_weight_is_refused(text: Path, weight: str, message: str) -> None:
    """The message repeats what was written and says what a weight is."""
    with pytest.raises(TextError, match=rf"a\.txt@{weight}: {message}"):
        parse_mixture([f"{text}@{weight}"])
