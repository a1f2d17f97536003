"""Progress for people without a terminal, and libraries that keep quiet."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest
from command_line import gp

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


EVIL = "m\x1b]0;PWNED\x07\r\u202e"


def test_nothing_of_others_acts_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Our errors, typer's, logs of libraries: whatever goes to stderr while a command runs."""
    for done in (gp("check", tmp_path / EVIL), gp("plan", "x", f"--{EVIL}"), gp(EVIL)):
        assert done.code == 2
        assert "PWNED" in done.err
        assert all(line.isprintable() for line in done.err.split("\n")), done.err

    def run(**_: object) -> None:
        logging.getLogger("strange").error(EVIL)
        sys.stderr.write(EVIL)
        console.say(f"x\ngp: {EVIL}")

    monkeypatch.setattr("globalprune.cli.app.app", run)
    lines = gp("plan").err.split("\n")

    assert all(line.isprintable() for line in lines)
    assert "  gp: m" in lines[-2]


def test_bars_of_tqdm_are_still_bars() -> None:
    """What moves the cursor at the head of one is let through, and nothing behind it."""
    below = io.StringIO()
    stream = console.PlainStream(below)
    for text in ("\r50%|#| \x1b[31m", "\x1b[A\x1b[A", "\x1b[31m"):
        stream.write(text)

    assert below.getvalue() == "\r50%|#| \\x1b[31m\x1b[A\x1b[A\\x1b[31m"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_an_answer_fits_the_streams_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """No character stops it, and JSON stays JSON with the same values."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    value = {"a": "→ é \udcff\x9b"}
    console.print_json(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value
    console.print_text("→ \udcff\x9b")
    assert raw.getvalue().decode(encoding).endswith(r"\xff\x9b" + "\n")


def test_a_fault_of_ours_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback is there, and nothing in it acts."""
    console.show_bug(ZeroDivisionError, ZeroDivisionError(EVIL), None)
    said = capsys.readouterr().err

    assert "ZeroDivisionError: m\\x1b" in said
    assert "this is a fault of globalprune; please report it" in said
