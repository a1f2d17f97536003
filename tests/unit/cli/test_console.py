"""Progress for people without a terminal, and libraries that keep quiet."""

import logging

import pytest

from globalprune.cli import console


def test_long_work_tells_every_tenth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log file gets a line for each tenth at most, never one for each item."""
    monkeypatch.setattr(console, "SHOWN_AFTER", -1.0)
    with console.progress_bars() as progress:
        items = list(progress(range(40), total=40, label="measuring", unit="batches"))
    lines = capsys.readouterr().err.splitlines()

    assert items == list(range(40))
    assert len(lines) == 10
    assert lines[-1].startswith("measuring: 40 of 40 batches, ")


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What is over in two seconds needs no bar."""
    with console.progress_bars() as progress:
        list(progress(range(40), total=40, label="cut", unit="steps"))

    assert capsys.readouterr() == ("", "")


def test_other_libraries_are_quiet_and_then_as_before() -> None:
    """Their warnings are not for our users; what was set is set back, after an error too."""
    logger = logging.getLogger("datasets")
    before = logger.level

    def run() -> None:
        with console.quiet_libraries():
            assert logger.getEffectiveLevel() == logging.ERROR
            raise ValueError("over")

    with pytest.raises(ValueError, match="over"):
        run()

    assert logger.level == before
