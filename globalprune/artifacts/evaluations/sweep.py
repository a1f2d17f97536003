"""A sweep on disk: sweep.json, and the same points as CSV and Markdown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from globalprune.artifacts.evaluations.evaluation import (
    EvaluationSettings,
    Hardware,
    ModelResult,
    perplexity_difference,
    refuse_other_windows,
)
from globalprune.artifacts.formatting import (
    csv_text,
    describe_text,
    escape_markdown,
    markdown_code,
    markdown_table,
)
from globalprune.artifacts.records import (
    Command,
    Record,
    TextRecord,
    format_command,
    read_record,
    write_record,
)
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.artifacts.staging import updated_folder

SWEEP_FORMAT: Literal["globalprune.sweep/1"] = "globalprune.sweep/1"
SWEEP_FILE: Final = "sweep.json"
SWEEP_CSV: Final = "sweep.csv"
SWEEP_MARKDOWN: Final = "sweep.md"
SWEEP_CURVE: Final = "sweep.svg"
_COLUMNS: Final = (
    "line", "removed", "parameters", "kv_cache_bytes_per_token", "perplexity", "standard_error",
    "difference", "difference_standard_error", "plan", "note",
)  # fmt: skip
SWEEP_HEAD: Final = (
    "", "removed", "parameters", "KV cache a token", "perplexity", "to the model as it is"
)  # fmt: skip
_DENSE: Final = "as it is"


class SweepPoint(Record):
    """One plan, and the figures of what it leaves."""

    plan: str  # its path, seen from the folder of the sweep
    decisions: str  # the digest of what it removes
    line: str  # the points of one line of the curve differ in how much goes, and in nothing else
    removed: float = Field(ge=0, le=1)  # parameters of the groups that go, as a fraction of all
    compensated: bool  # cut and compensated; otherwise evaluated as a mask
    result: ModelResult


class UnreachedRatio(Record):
    """A ratio that no plan reaches."""

    line: str  # of its point, if there were one
    asked: float  # parameters to remove, as a fraction of all
    reachable: float  # the largest fraction that can be removed
    reason: str


class Sweep(Record):
    """The model as it is, and a point for every plan."""

    format: Literal["globalprune.sweep/1"] = SWEEP_FORMAT
    dense: ModelResult
    points: tuple[SweepPoint, ...] = Field(min_length=1)
    unreached: tuple[UnreachedRatio, ...] = ()
    compensation: CompensationRequest | None  # of the compensated points
    repaired_on: TextRecord | None = None  # the text of the compensation, as it was read
    text: TextRecord
    settings: EvaluationSettings
    device: str
    hardware: Hardware
    versions: dict[str, str]
    command: Command

    @model_validator(mode="after")
    def _comparable(self) -> "Sweep":
        """Refuse points that were evaluated on other tokens than the dense model."""
        results = [self.dense, *(point.result for point in self.points)]
        refuse_other_windows([result.perplexity for result in results])
        return self

    @property
    def lines(self) -> dict[str, tuple[SweepPoint, ...]]:
        """Return the points of every line, in the order of what they remove."""
        by_line: dict[str, list[SweepPoint]] = {}
        for point in sorted(self.points, key=lambda point: point.removed):
            by_line.setdefault(point.line, []).append(point)
        return {name: tuple(by_line[name]) for name in dict.fromkeys(p.line for p in self.points)}


def write_sweep(folder: Path, sweep: Sweep, curve: bytes | None = None) -> None:
    """Write the files, all or none of them; `curve` is the SVG of the curve, if there is one."""
    with updated_folder(folder, (SWEEP_FILE, SWEEP_CSV, SWEEP_MARKDOWN, SWEEP_CURVE)) as new:
        (new / SWEEP_CSV).write_bytes(sweep_csv(sweep).encode())
        (new / SWEEP_MARKDOWN).write_bytes(("\n".join(sweep_markdown_lines(sweep)) + "\n").encode())
        if curve is not None:
            (new / SWEEP_CURVE).write_bytes(curve)
        write_record(new / SWEEP_FILE, sweep)


def read_sweep(path: Path) -> Sweep:
    """Read sweep.json; raise `RecordInvalid` with all that is wrong with it."""
    return read_record(path, Sweep, what="a sweep", command="gp sweep")


def sweep_csv(sweep: Sweep) -> str:
    """Return the points as CSV: the model as it is, then every point, then the unreached ratios."""
    return csv_text(_COLUMNS, (tuple(row.values()) for row in _rows(sweep)))


def sweep_markdown_lines(sweep: Sweep) -> list[str]:
    """Return the table as Markdown, and under it how it was measured."""
    rows = ([escape_markdown(cell) for cell in row] for row in sweep_table(sweep))
    return [
        *markdown_table(SWEEP_HEAD, rows),
        "",
        f"- {escape_markdown(sweep_text_line(sweep))}",
        *([f"- {markdown_code(format_command(sweep.command))}"] if sweep.command else []),
    ]


def sweep_table(sweep: Sweep) -> list[tuple[str, ...]]:
    """Return the cells of every row under `SWEEP_HEAD`, as a person reads them."""
    return [_cells(row) for row in _rows(sweep)]


def sweep_text_line(sweep: Sweep) -> str:
    """Return a line that names the text of all perplexities."""
    return f"perplexity on {describe_text(sweep.text)}"


def _rows(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield every row, by column."""
    yield _row(sweep, _DENSE, 0.0, sweep.dense, None)
    for name, points in sweep.lines.items():
        for point in points:
            yield _row(sweep, name, point.removed, point.result, point.plan)
    for unreached in sweep.unreached:
        row: dict[str, Any] = dict.fromkeys(_COLUMNS)
        yield row | {"line": unreached.line, "removed": unreached.asked, "note": unreached.reason}


def _row(
    sweep: Sweep, name: str, removed: float, result: ModelResult, plan: str | None
) -> dict[str, Any]:
    """Return the row of one model."""
    change = None
    if plan is not None:
        change = perplexity_difference(result.perplexity, sweep.dense.perplexity)
    difference, error = change or (None, None)
    perplexity = result.perplexity
    figures = (
        name, removed, result.parameters, result.kv_cache_bytes_per_token, perplexity.value,
        perplexity.standard_error, difference, error, plan,
    )  # fmt: skip
    return dict(zip(_COLUMNS, (*figures, None), strict=True))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row as a person reads them."""
    cache = row["kv_cache_bytes_per_token"]
    if row["note"] is not None:
        return (row["line"], f"{100 * row['removed']:.1f} %", "", "", row["note"], "")
    return (
        row["line"],
        f"{100 * row['removed']:.1f} %",
        f"{row['parameters']:,}",
        "unknown" if cache is None else f"{cache:,} B",
        _estimate(row["perplexity"], row["standard_error"]),
        _estimate(row["difference"], row["difference_standard_error"], sign="+"),
    )


def _estimate(value: float | None, error: float | None, *, sign: str = "-") -> str:
    """Return a figure with its standard error."""
    if value is None:
        return ""
    return f"{value:{sign},.2f}" + ("" if error is None else f" ± {error:,.2f}")
