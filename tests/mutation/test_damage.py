"""A small seeded sample of damaged files; `make fuzz` runs thousands."""

from pathlib import Path

import pytest
from mutation.damage import build, run_cases

SAMPLE = range(40)


@pytest.mark.slow
def test_every_damaged_file_is_answered_or_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, no hang, nothing that acts on a terminal."""
    monkeypatch.chdir(tmp_path)
    build()

    assert list(run_cases(SAMPLE, seed=1, pictures=0.0)) == []
