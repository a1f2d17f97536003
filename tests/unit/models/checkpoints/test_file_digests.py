"""Full digests, taken once of a large file as long as it stands as it is."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from globalprune.errors import UsageError
from globalprune.models.checkpoints import file_digests
from globalprune.models.checkpoints.file_digests import cache_folder, digests_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, in which every file counts as large."""
    monkeypatch.setenv("GLOBALPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "LARGE", 1)
    monkeypatch.setattr(file_digests, "_taken", {})
    return tmp_path / "cache" / "digests"


class Reads:
    """Counts the blocks that are read."""

    def __init__(self) -> None:
        self.blocks = 0

    def __call__(
        self, items: Iterable[object], *, total: int, label: str, unit: str
    ) -> Iterator[object]:
        """Yield them all."""
        assert label == "reading weights"
        assert unit == "blocks"
        found = list(items)
        assert len(found) == total
        self.blocks += total
        yield from found


def read(path: Path, reads: Reads) -> str:
    """Take one digest as another process would, that remembers nothing."""
    file_digests._taken.clear()
    (digest,) = digests_of([path], reads)  # type: ignore[arg-type]
    assert digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return digest


def written(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, age: float = 60) -> Path:
    """Write a file, and let so many seconds pass."""
    path.write_bytes(content)
    now = path.stat().st_mtime_ns + int(age * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    return path


def test_a_large_file_is_read_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, each told; a cache that was deleted or damaged is made anew."""
    monkeypatch.setattr(file_digests, "_BLOCK", 4)
    path, reads = written(tmp_path / "w", b"0123456789", monkeypatch), Reads()
    for _ in range(2):
        read(path, reads)
    assert reads.blocks == 3
    (kept,) = cache.iterdir()
    assert str(path) in kept.read_text()
    for damage in ("", "[]", '{"digest": 3}', kept.read_text().replace('"size": 10', '"size": 9')):
        kept.write_text(damage)
        reads = Reads()
        read(path, reads)
        assert reads.blocks == 3


def test_a_change_is_seen_whatever_its_size_and_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the same name, size and time; and one written a moment ago is not kept."""
    path, reads = written(tmp_path / "w", b"one", monkeypatch), Reads()
    times = path.stat()
    digests = {read(path, reads)}
    written(tmp_path / "other", b"two", monkeypatch).replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    digests.add(read(path, reads))
    assert len(digests) == 2
    kept = len(list(cache.iterdir()))
    read(written(tmp_path / "new", b"new", monkeypatch, age=1), reads)
    assert len(list(cache.iterdir())) == kept


def test_without_a_cache_all_is_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that can't be written is no error; small files are never kept."""
    (tmp_path / "cache").write_text("a file in the way")
    read(written(tmp_path / "w", b"one", monkeypatch), Reads())
    (tmp_path / "cache").unlink()
    monkeypatch.setattr(file_digests, "LARGE", 2**20)
    file_digests._taken.clear()
    assert digests_of([tmp_path / "w"]) == ["sha256:" + hashlib.sha256(b"one").hexdigest()]
    assert not cache.exists()
    with pytest.raises(UsageError, match=r"gone: can't be read \(No such file"):
        digests_of([tmp_path / "gone"])


def test_the_cache_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or where the variable says."""
    monkeypatch.delenv("GLOBALPRUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "globalprune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "globalprune"
