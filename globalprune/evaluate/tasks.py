"""Answers to zero-shot and few-shot tasks, asked by lm-eval of a model that is already loaded.

lm-eval is handed the model itself, so that it never has to open a folder of uneven layers.
"""

import math
import random
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from globalprune.artifacts.evaluations.evaluation import MetricResult, TaskResult, TaskSettings
from globalprune.errors import UsageError
from globalprune.evaluate.quiet_harness import quiet_harness
from globalprune.evaluate.task_definitions import Tasks
from globalprune.progress import Progress
from globalprune.text.chat_template import ChatTemplate


def refuse_missing_template(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `UsageError` where a chat template was asked for and there is none that works."""
    if tokenizer.chat_template is None:
        raise UsageError(
            f"{name}: its tokenizer has no chat template; leave --apply-chat-template out."
        )
    template = ChatTemplate(tokenizer, f"{name}: --apply-chat-template is given")
    template.write([{"role": "user", "content": "?"}], f"{name}: a question", prompting=True)


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Tasks,
    *,
    batch_size: int,
    progress: Progress,
) -> dict[str, TaskResult]:
    """The results of every task, and of every group that has a figure of its own."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    settings = tasks.settings
    with quiet_harness(progress):
        subject = HFLM(
            pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size
        )
        _prepare(tasks.loaded["tasks"], settings)
        answers = evaluate(
            lm=subject,
            task_dict=tasks.loaded,
            limit=settings.limit,
            bootstrap_iters=settings.bootstrap,
            apply_chat_template=settings.apply_chat_template,
            fewshot_as_multiturn=True,  # as lm-eval's own entry does; without a template no matter
        )
    return {
        name: _result(name, figures, answers, tasks) for name, figures in answers["results"].items()
    }


def _prepare(loaded: dict[str, Any], settings: TaskSettings) -> None:
    """Set seeds and examples as lm-eval's `simple_evaluate` does, anew for every model."""
    seeds = settings.seeds
    random.seed(seeds.random)
    np.random.seed(seeds.numpy)  # noqa: NPY002 - tasks draw from numpy's global generator
    torch.manual_seed(seeds.torch)
    for task in loaded.values():
        own = task.get_config("num_fewshot")
        if settings.fewshot is not None and own != 0:  # a task that says 0 means it
            task.set_config(key="num_fewshot", value=settings.fewshot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seeds.fewshot)


def _result(name: str, figures: dict[str, Any], answers: Any, tasks: Tasks) -> TaskResult:
    """One task's figures, taken out of lm-eval's way of naming them (`acc_stderr,none`)."""
    better = answers["higher_is_better"].get(name, {})
    samples = answers.get("samples", {}).get(name, [])
    metrics = {}
    for key, value in figures.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        metrics[metric if kind == "none" else f"{metric} ({kind})"] = MetricResult(
            value=_finite(value),
            standard_error=_finite(figures.get(f"{metric}_stderr,{kind}")),
            higher_is_better=better.get(metric),
            right=_right(samples, metric, kind),
        )
    version = answers["versions"].get(name)
    return TaskResult(
        metrics=metrics,
        documents=figures.get("sample_len", 0),
        document_digest=tasks.documents.get(name),
        fewshot=answers["n-shot"].get(name),
        version=None if version is None else str(version),
        config=tasks.configs.get(name),
        part_of=tasks.parents.get(name),
    )


def _finite(value: Any) -> float | None:
    """A number, or None for what is none (`N/A`, nan)."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None


def _right(samples: list[dict[str, Any]], metric: str, kind: str) -> str | None:
    """A 0 or 1 for every document, if that is all that the metric says of one."""
    values = [sample.get(metric) for sample in samples if sample["filter"] == kind]
    if not values or any(value not in (0, 1) for value in values):
        return None
    return "".join(str(int(value)) for value in values if value is not None)
