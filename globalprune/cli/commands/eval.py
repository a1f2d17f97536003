"""`gp eval`: compare models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globalprune.cli import console, options
from globalprune.cli.console import report_cached_on_interrupt
from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison, TaskSettings


def eval_(
    *,
    models: options.Models,
    plan: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PLAN",
            help="Also evaluate the first model as this plan would leave it, without a cut: as a "
            "mask. Repeatable.",
            show_default="none",
        ),
    ] = None,
    data: Annotated[
        str,
        options.text_option(
            "Text to evaluate on", "the part of the Python manual that calibration never sees"
        ),
    ] = "builtin",
    samples: Annotated[
        int | None,
        typer.Option(help="Number of windows, from the start of the text.", show_default="all"),
    ] = None,
    seq_len: options.SeqLen = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Tokens from one window's start to the next, at least a window: none overlap.",
            show_default="the window's length",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A task of lm-eval (needs the extra `eval`), or a .yaml file of one; repeatable.",
            show_default="none",
        ),
    ] = None,
    tasks_path: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of further tasks for lm-eval.", show_default="none"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Documents of each task, from its start.", show_default="all"),
    ] = None,
    fewshot: Annotated[
        int | None,
        typer.Option(
            min=0, help="Examples in the prompt of each task.", show_default="as each task says"
        ),
    ] = None,
    apply_chat_template: Annotated[
        bool,
        typer.Option(
            "--apply-chat-template", help="Put the prompts of tasks into the model's chat template."
        ),
    ] = False,
    no_speed: Annotated[
        bool, typer.Option("--no-speed", help="Leave out the rounds that time the models.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Write evaluation.json, .csv and .md there, and each model's figures as soon as "
            "they are known, so that the same command continues after an interruption.",
            show_default=False,
        ),
    ] = None,
    batch_size: options.BatchSize = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare models: size, memory, perplexity, tasks and speed, each with its error.

    Every model reads the same windows of text. Perplexity is exp(total loss / predicted tokens).
    Speed is measured with all models in memory, in interleaved rounds. A warning names a model that
    was calibrated or finetuned on this very text.

    Example:  gp eval MODEL smaller --data wiki.txt --tasks arc_easy --limit 200 -o judged
    """
    from globalprune import api
    from globalprune.artifacts.evaluations.evaluation import SpeedSettings
    from globalprune.options import EvaluateOptions

    prepared = [options.readable_model(model) for model in models]
    evaluate_options = EvaluateOptions(
        data=data,
        plans=tuple(plan or ()),
        samples=samples,
        seq_len=seq_len,
        stride=stride,
        batch_size=batch_size,
        tasks=_tasks(tasks, tasks_path, limit, fewshot, apply_chat_template=apply_chat_template),
        speed=None if no_speed else SpeedSettings(),
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    with report_cached_on_interrupt(out), console.reporting() as reporter:
        comparison = api.evaluate(prepared, evaluate_options, out, reporter=reporter)
    _show(comparison, out, as_json=as_json)


def _tasks(
    names: list[str] | None,
    include: Path | None,
    limit: int | None,
    fewshot: int | None,
    *,
    apply_chat_template: bool,
) -> "TaskSettings | None":
    """Return the tasks of lm-eval; raise `UsageError` for their options without a task."""
    from globalprune.artifacts.evaluations.evaluation import TaskSettings

    if names:
        return TaskSettings(
            names=tuple(names),
            include_path=None if include is None else str(include),
            limit=limit,
            fewshot=fewshot,
            apply_chat_template=apply_chat_template,
        )
    given = {
        "--tasks-path": include,
        "--limit": limit,
        "--fewshot": fewshot,
        "--apply-chat-template": apply_chat_template or None,
    }
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}: says how tasks are run, and none is named; add --tasks.")
    return None


def _show(comparison: "Comparison", out: Path | None, *, as_json: bool) -> None:
    """Print the warnings and the comparison."""
    import json

    from globalprune.artifacts.evaluations.evaluation_table import all_warnings
    from globalprune.cli.result_text import evaluation_text

    for result in comparison.models:
        if result.from_earlier_run:
            parts = " and ".join(result.from_earlier_run)
            console.say(f"{result.source}: {parts} taken from {out}/parts")
    for warning in all_warnings(comparison):
        console.warn(warning)
    if as_json:
        console.print_json(json.loads(comparison.model_dump_json()))
    else:
        console.print_text(evaluation_text(comparison))
