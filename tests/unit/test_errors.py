"""One guard around libraries: what they raise becomes a message, and a slip of ours stays one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from globalprune.artifacts import records
from globalprune.artifacts.results.cut import CutModel
from globalprune.errors import CheckpointError, UsageError, library_errors


class PanicException(BaseException):
    """What tokenizers raises where Rust gave up."""


PanicException.__module__ = "pyo3_runtime"


def raising(error: BaseException) -> Callable[[], None]:
    """Something that a block calls straight away, as it calls a library in C or Rust."""

    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: json.loads("["), r"x: is no model \(JSONDecodeError: Expecting value.*; mend it"),
        (raising(PanicException("gave up")), r"PanicException: gave up"),
        (raising(KeyError("r")), r"KeyError: 'r'"),
    ],
    ids=["a library", "Rust", "no frame"],
)
def test_whatever_a_library_raises_is_a_message(call: Callable[[], object], said: str) -> None:
    """Where, what was found, what to do."""
    with (
        pytest.raises(CheckpointError, match=said),
        library_errors(CheckpointError, "x: is no model", "mend it."),
    ):
        call()


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        MemoryError(),
        RuntimeError("not enough memory: you tried"),
        UsageError(),
    ],
    ids=["interruption", "memory", "torch's memory", "ours"],
)
def test_what_is_no_fault_of_the_input_passes(error: BaseException) -> None:
    """An interruption, memory that ran out, a message that is there already."""
    with pytest.raises(type(error)), library_errors(CheckpointError, "x", "y"):
        raise error


def test_a_slip_in_a_function_of_ours_stays_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not dressed up as one of the file."""
    record = CutModel(source="m", revision=None, structure="", weights="")
    monkeypatch.setattr(records, "write_atomically", None)
    with pytest.raises(TypeError), library_errors(CheckpointError, "x", "y"):
        records.write_record(Path("x"), record)
