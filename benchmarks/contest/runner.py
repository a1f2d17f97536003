"""One item after the other, each in a fresh process; what is finished is not done again."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contest.measured_run import CommandFailedError, run_measured
from contest.part import Part, read_part, write_part
from contest.question import Item, Job, Question, inputs_of, job_of
from globalprune.artifacts.disk import write_atomically

Say = Callable[[str], None]


def run_items(question: Question, items: Sequence[Item], work: Path, say: Say) -> list[Part]:
    """Run what has no part yet; a failure is recorded with its error, and the run goes on."""
    inputs = inputs_of(question)
    parts = []
    for place, item in enumerate(items, 1):
        job = job_of(question, item, inputs, work)
        part = read_part(work, item, job.key)
        note = "" if part is None else ", from an earlier run"
        part = part or _run(job)
        say(f"[{place}/{len(items)}] {line_of(part)}{note}")
        parts.append(part)
    return parts


def line_of(part: Part) -> str:
    """An item's news in one line."""
    item = part.item
    about = f"{item.recipe}, ratio {item.ratio}, seed {item.seed}"
    if part.error is not None:
        return f"{about}: failed: {part.error.strip().splitlines()[-1]}"
    return f"{about}: {part.removed:,} parameters in {part.seconds:.0f} s"


def _run(job: Job) -> Part:
    """Run one item; its part is written by its process, or here if that fails."""
    spec = job.work / "jobs" / f"{job.item.name}.json"
    write_atomically(spec, job.model_dump_json(indent=1))
    command = [sys.executable, "-m", "contest.one_item", str(spec)]
    log = job.work / "logs" / f"{job.item.name}.log"
    try:
        run_measured(command, log, _environment())
    except CommandFailedError as error:
        failed = Part(key=job.key, item=job.item, error=str(error))
        write_part(job.work, failed)
        return failed
    part = read_part(job.work, job.item, job.key)
    if part is None:
        raise RuntimeError(f"{log}: the process ended well and left no part.")
    return part


def _environment() -> dict[str, str]:
    """This process's, and the way to these modules."""
    here = str(Path(__file__).parents[1])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
