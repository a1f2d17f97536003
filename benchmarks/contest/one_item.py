"""Measure one item in a process of its own: `python -m contest.one_item SPEC`.

SPEC is a job as JSON. Commands of ours run before torch is imported here: a child's peak memory
begins at its parent's size.
"""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contest import ours
from contest.measured_run import Cost, own_peak
from contest.part import Part, write_part
from contest.question import DENSE, Job
from globalprune.artifacts.plans.budgets import parameters_to_remove

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pruned:
    """A model to judge, what it cost, and the commands that made it."""

    load: "Callable[[], PreTrainedModel]"
    cost: Cost
    removed: int | None = None  # None: count what is left
    commands: tuple[str, ...] = ()


def measure(job: Job) -> Part:
    """Prune and judge."""
    shutil.rmtree(scratch(job), ignore_errors=True)
    own = ours.parse(job.item.recipe)
    if job.item.recipe == DENSE:
        pruned = Pruned(partial(_load, job.question.model), Cost(0.0, 0), removed=0)
    else:
        pruned = by_commands(job, own) if own else by_recipe(job)
    part = _judged(job, pruned)
    shutil.rmtree(scratch(job), ignore_errors=True)
    return part


def by_commands(job: Job, own: ours.Ours) -> Pruned:
    """Run gp, and leave its result to be loaded."""
    out = scratch(job) / "model"
    asked = job.question
    text = ours.Text(asked.data, asked.samples, asked.seq_len, job.item.seed)
    folders = (out, job.work / "analyses" / job.calibration)
    cost = ours.run(own, asked.model, job.item.ratio, text, folders)
    commands = tuple(ours.spelled(own, asked.model, job.item.ratio, text))
    return Pruned(partial(_load, str(out)), cost, commands=commands)


def by_recipe(job: Job) -> Pruned:
    """Run a peer's recipe in this process; the clock starts when the libraries are loaded."""
    import torch
    from peers.recipes import peer_named
    from peers.subject import load_subject

    from globalprune.models.tokenizer import load_tokenizer
    from globalprune.text.calibration import calibration_windows

    asked = job.question
    prune = peer_named(job.item.recipe)
    torch.manual_seed(job.item.seed)
    started = time.perf_counter()
    subject = load_subject(asked.model)
    device = subject.model.device
    windows = calibration_windows(
        asked.data,
        partial(load_tokenizer, asked.model),
        vocab_size=subject.model.config.vocab_size,
        samples=asked.samples,
        seq_len=asked.seq_len,
        seed=job.item.seed,
    )
    windows = replace(windows, rows=tuple(row.to(device) for row in windows.rows))
    need = parameters_to_remove(job.item.ratio, subject.structure.parameters)
    with device:  # what a recipe makes anew lies where its model does
        removed = prune(subject, windows, need)
    if removed < need:
        raise ValueError(f"{removed:,} parameters went, {need:,} were asked for.")
    cost = Cost(time.perf_counter() - started, own_peak())
    return Pruned(lambda: subject.model, cost, removed)


def _judged(job: Job, pruned: Pruned) -> Part:
    """Load what was made, and the dense model beside it, and judge."""
    from contest.dense_states import dense_states, states_path
    from contest.judge import judge
    from contest.texts import STRIDED, judging_texts
    from globalprune.evaluation.resources import count_parameters
    from globalprune.models.tokenizer import load_tokenizer

    dense = _load(job.question.model)
    texts = judging_texts(
        job.question, partial(load_tokenizer, job.question.model), dense.config.vocab_size
    )
    compared = {name: windows for name, windows in texts.items() if name != STRIDED}
    path = states_path(job.work, job.inputs, compared)
    states = dense_states(path, lambda: dense, compared)
    model = dense if job.item.recipe == DENSE else pruned.load()
    parameters = count_parameters(dense)
    removed = parameters - count_parameters(model) if pruned.removed is None else pruned.removed
    verdict = judge(model, texts, dense.get_output_embeddings(), None if model is dense else states)
    return Part(
        key=job.key,
        item=job.item,
        parameters=parameters,
        removed=removed,
        seconds=pruned.cost.seconds,
        peak_bytes=pruned.cost.peak_bytes,
        commands=pruned.commands,
        texts=verdict,
    )


def _load(source: str) -> "PreTrainedModel":
    """Load a model as every user would, on the first GPU if there is one."""
    from globalprune.models.loading import load_model
    from globalprune.models.placement import choose_placement

    return load_model(source, device=choose_placement(None, None).device)


def scratch(job: Job) -> Path:
    """A folder that is gone when the item is done."""
    return job.work / "scratch" / job.item.name


if __name__ == "__main__":
    found = Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_part(found.work, measure(found))
