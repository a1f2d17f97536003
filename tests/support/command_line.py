"""Runs `gp` in this process as a shell would, and keeps what it said."""

import contextlib
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from globalprune.cli import app


@dataclass(frozen=True)
class Said:
    """An exit code, and what went to the two streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


def gp(*arguments: str | Path | float) -> Said:
    """Run one command; no traceback may come out of it."""
    out, err = io.StringIO(), io.StringIO()
    words = ["gp", *map(str, arguments)]
    code = 0
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            app.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Said(code, out.getvalue(), err.getvalue())


def files_below(folder: Path) -> set[str]:
    """Every file and folder below, hidden ones too: what a failed command may not add to."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refused(done: Said, message: str) -> None:
    """Exit code 2, one message that the pattern is found in, nothing on stdout, no traceback."""
    assert done.code == 2, done.err
    assert done.err.startswith("gp: ")
    assert re.search(message, done.err), done.err
    assert "Traceback" not in done.err
    assert not done.out
