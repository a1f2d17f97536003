"""analyze.log: what a run was asked, what it did when, and what it found, layer by layer."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np

from globalprune.artifacts.analyses.analysis import AnalysisRecord
from globalprune.artifacts.analyses.group_table import GroupTable
from globalprune.artifacts.command import spelled_command
from globalprune.printable import printable, printable_lines


class RunLog:
    """Lines with the seconds since the start; nothing is written before the run has ended well."""

    def __init__(self, command: Sequence[str]) -> None:
        self._started = time.monotonic()
        self._lines = [
            f"{datetime.now(UTC).isoformat(timespec='seconds')}  {spelled_command(command)}"
        ]

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, line: str) -> None:
        """Note one line."""
        self._lines.append(f"{self.seconds:8.1f} s  {printable_lines(line)}")

    def say_record(self, record: AnalysisRecord) -> None:
        """Note everything but what is long: the structure and the documents' digests."""
        self._say_facts("measured", record.model_dump(exclude={"structure", "calibration"}))
        self._say_facts("text", record.calibration.model_dump(exclude={"document_digests"}))

    def _say_facts(self, title: str, facts: Mapping[str, Any]) -> None:
        """Note a block of facts, one a line, those inside others by their path."""
        self.say(title)
        self._lines += [f"{'':12}{name}: {printable(str(value))}" for name, value in _flat(facts)]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note how long the block took."""
        started = time.monotonic()
        yield
        self.say(f"{name}: {time.monotonic() - started:.1f} s")

    def text(self) -> str:
        """The whole log."""
        return "\n".join(self._lines) + "\n"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield `model.source` and so on; lists in words."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif name == "command":
            yield prefix + name, spelled_command(value) or "none"
        elif isinstance(value, tuple | list):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        else:
            yield prefix + name, value


def layer_summary(table: GroupTable) -> str:
    """A line for every half: its groups, the spread of their scores, its part of all importance."""
    columns = ("lowest", "median", "highest")
    lines = [
        "layer  kind       groups" + "".join(f"  {name:>10}" for name in columns) + "    share"
    ]
    total = float(table.importance.sum()) or 1.0
    for (layer, kind), rows in table.halves.items():
        scores = table.score[rows]
        share = float(table.importance[rows].sum()) / total
        lines.append(
            f"{layer:>5}  {kind:<9}  {len(scores):>6}  {scores.min():>10.3e}  "
            f"{np.median(scores):>10.3e}  {scores.max():>10.3e}  {share:>7.2%}"
        )
    return "\n".join(lines)
