"""What `gp` makes of errors, interruptions and closed pipes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from analyses import saved_analysis
from command_line import gp

from globalprune.cli import app
from globalprune.errors import BudgetError, GlobalPruneError, TextError
from globalprune.options import PlanOptions
from globalprune.planning.write import write_plans


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every command raise."""

    def run(**_: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", run)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TextError("a.txt: is empty."), 2, "gp: a.txt: is empty.\n"),
        (BudgetError("ratio 0.9: too much."), 1, "gp: ratio 0.9: too much.\n"),
        (OSError(28, "No space left on device"), 2, "gp: the answer: No space left on device.\n"),
        (PermissionError(13, "Permission denied", "x"), 2, "gp: x: Permission denied.\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_person_can_mend_is_one_message(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    """No traceback, and the exit code that the README names."""
    fail_with(monkeypatch, error)
    done = gp("plan")

    assert (done.code, done.err, done.out) == (code, said, "")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C counts, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda it: it.name)
def test_signals_end_a_command_with_a_word_and_nothing_left(
    tiny: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and what schedulers send alike, in the middle of an analysis."""
    words = ["analyze", str(tiny("llama")), "-o", str(tmp_path / "a"), "--data", "builtin"]
    command = [sys.executable, "-m", "globalprune", *words, "--samples", "900", "--seq-len", "128"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "measuring" in running.stderr.readline()
        running.send_signal(number)
        said = running.stderr.read()

    assert running.returncode == 128 + number
    assert said.endswith("gp: interrupted; nothing was half written.\n")
    assert not list(tmp_path.iterdir())


def test_a_library_that_swallows_the_interruption_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a signal becomes inside a library is still that signal's end."""

    def run(**_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            raise ValueError("could not determine the shape") from error

    monkeypatch.setattr(app, "app", run)
    done = gp("apply")

    assert (done.code, done.err) == (143, "gp: interrupted; nothing was half written.\n")


@pytest.mark.usefixtures("interruptible")
def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup a closed terminal ends nothing; afterwards all handlers are as before."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(app, "app", lambda **_: os.kill(os.getpid(), signal.SIGHUP))

        assert gp("apply").code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no user can mend is not dressed up as something that they can."""
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        gp("plan")


def test_a_reader_that_has_read_enough_is_no_error(tmp_path: Path) -> None:
    """`gp … | head` ends quietly."""
    write_plans(saved_analysis(tmp_path), PlanOptions((0.3,)))
    command = [sys.executable, "-m", "globalprune", "check", str(tmp_path / "plan.yaml"), "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.stderr == ""


@pytest.mark.parametrize("words", [["prone"], ["plan"], ["plan", "x", "--rate", "1"]], ids=" ".join)
def test_words_that_gp_does_not_know_are_usage_errors(words: list[str]) -> None:
    """The usual answer, with exit code 2, under the name that a person typed."""
    done = gp(*words)

    assert done.code == 2
    assert "Usage: gp" in done.err


def test_the_overview_names_every_command() -> None:
    """In the order in which a person meets them, each with its line."""
    said = gp("--help").out

    places = [said.index(entry.summary[:40]) for entry in app.COMMANDS.values()]
    assert places == sorted(places)


def test_every_error_of_ours_has_an_exit_code() -> None:
    """1 or 2, whatever the class."""
    classes = [GlobalPruneError]
    for found in classes:
        classes += found.__subclasses__()

    assert len(classes) > 15
    assert {found.exit_code for found in classes} == {1, 2}
