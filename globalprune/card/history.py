"""The card's sections on what was done to the model, how it was evaluated, and how to repeat it."""

from collections.abc import Iterator
from typing import Final

from globalprune.artifacts.command import format_command
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_files import evaluation_markdown
from globalprune.artifacts.formatting import describe_text, escape_markdown, markdown_code
from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.results.compensation import CompensationRecord
from globalprune.artifacts.results.finetuning import FinetuneRun
from globalprune.artifacts.results.metrics import ApplyMetrics, EarlierStep
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.card.facts import CardFacts, public_path

_KINDS: Final = {
    "attention": "attention groups (a key/value head with its query heads)",
    "mlp": "MLP channels",
}


def history_sections(facts: CardFacts) -> Iterator[str]:
    """Yield the title and the cut, every finetuning, and the evaluation."""
    lines = [f"# {escape_markdown(facts.name)}", ""]
    if facts.licence.duties.notice:
        lines += [f"**{facts.licence.duties.notice}**", ""]
    if facts.records.cut:
        lines += _cut(facts, facts.records.cut)
    else:
        lines += [f"This is {markdown_code(facts.base)}, finetuned by globalprune.", ""]
    yield "\n".join(lines)
    for number, run in enumerate(facts.records.runs, start=1):
        yield _finetuning(run, number if len(facts.records.runs) > 1 else None)
    if facts.records.evaluation:
        yield _evaluation(facts.records.evaluation)


def reproduction_section(facts: CardFacts) -> Iterator[str]:
    """Yield the commands, and the digests that show whether a repetition gives the same."""
    if not facts.commands:
        return
    lines = [
        "## How to repeat it",
        "",
        "```console",
        *(f"$ {format_command(command)}" for command in facts.commands),
        "```",
        "",
        *(f"- {name}: {markdown_code(value)}" for name, value in dict(_digests(facts)).items()),
        "",
        "`globalprune/` has the plan, every record, and the versions of all tools.",
        "",
    ]
    yield "\n".join(lines)


def _cut(facts: CardFacts, cut: ApplyMetrics) -> list[str]:
    """What was removed of what."""
    before = cut.original_model.parameters
    removed = before - cut.parameters_after
    adapter = "This is a LoRA adapter for" if facts.is_adapter else "This is"
    lead = (
        f"{adapter} {markdown_code(facts.base)} with {removed:,} of its {before:,} parameters "
        f"({removed / before:.2%}) cut out by globalprune{_in_cuts(cut)}; "
        f"{cut.parameters_after:,} are left. {_afterwards(facts)}"
    )
    lines = [
        lead,
        *_dequantised(cut),
        "",
        *_earlier(cut),
        "Removed by the last cut:" if cut.earlier else "Removed:",
        "",
        *(f"- {cut.removed_groups.get(kind, 0):,} {_KINDS[kind]}" for kind in GROUP_TYPES),
    ]
    if cut.dropped_layers:
        count = len(cut.dropped_layers)
        numbers = ", ".join(str(index) for index in cut.dropped_layers)
        lines.append(f"- {count} whole layer{'s' if count > 1 else ''}: {numbers}")
    analysis = facts.records.analysis
    if analysis:
        text, method = _text(analysis.calibration), markdown_code(analysis.default_importance)
        lines += ["", f"What each part is worth was measured by {method} on {text}."]
    compensation = facts.records.compensation
    if compensation:
        lines += ["", _compensation(compensation)]
    records = (
        "`globalprune/plan.yaml` is the plan that did it, `globalprune/origin.parquet` says which "
        "group of the original each remaining group is, `globalprune/metrics.json` has the figures."
    )
    return [*lines, "", records, ""]


def _in_cuts(cut: ApplyMetrics) -> str:
    """In how many cuts, if in more than one."""
    cuts = 1 + sum(step.kind == "cut" for step in cut.earlier)
    return "" if cuts == 1 else f" in {cuts} cuts"


def _earlier(cut: ApplyMetrics) -> list[str]:
    """What was done before the last cut, step by step."""
    if not cut.earlier:
        return []
    return ["Before the last cut:", "", *map(_step, cut.earlier), ""]


def _step(step: EarlierStep) -> str:
    """One step before the last cut."""
    name = markdown_code(public_path(step.model))
    if step.kind == "finetuning":
        return f"- {name} was finetuned"
    compensated = ", and what was left was compensated" if step.compensated else ""
    before, after = map(_count, (step.parameters_before, step.parameters_after))
    return f"- {name} was cut from {before} to {after} parameters{compensated}"


def _count(number: int | None) -> str:
    return "an unknown number of" if number is None else f"{number:,}"


def _dequantised(cut: ApplyMetrics) -> list[str]:
    """What a quantised base means for the result."""
    quantisation = cut.original_model.quantisation
    if quantisation is None:
        return []
    sentence = (
        f"The base was a {escape_markdown(quantisation)} quantisation. Its weights were "
        "dequantised, and what they had lost in precision is lost here too."
    )
    return ["", sentence]


def _afterwards(facts: CardFacts) -> str:
    """What was done with the rest, in a sentence."""
    if facts.records.runs:
        return "What is left was finetuned."
    compensation = facts.records.compensation
    if compensation and (compensation.accepted or compensation.final_norm_refitted):
        return "What is left was compensated, without training."
    return "What is left was not changed."


def _compensation(compensation: CompensationRecord) -> str:
    """Which weights were compensated, and on what."""
    parts = "o_proj, down_proj" + (", gate and up" if compensation.gate_steps else "")
    norm = ""
    if compensation.final_norm_refitted:
        norm = ", and the final norm by the divergence of the logits"
    return (
        f"{compensation.accepted} of {len(compensation.modules)} sublayers ({parts}) were "
        f"compensated by least squares on {_text(compensation.text)}{norm}, without training; "
        "`globalprune/compensation.json` has the errors on held-out windows."
    )


def _finetuning(run: FinetuneRun, number: int | None) -> str:
    """What was trained on what, and how the loss fell."""
    settings = run.settings
    weights = "all weights"
    if settings.lora is not None:
        weights = f"LoRA (r {settings.lora.r}, alpha {settings.lora.alpha})"
    teacher = f", taught by {markdown_code(public_path(run.teacher.source))}" if run.teacher else ""
    texts = "; ".join(_text(part.text) for part in run.data)
    mixed = ", of text and teacher mixed" if run.teacher else ""
    title = "## Finetuning" + ("" if number is None else f" {number}")
    epochs = "one epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    body = (
        f"{weights}{teacher}: {run.steps:,} steps, {epochs}, at a learning rate of "
        f"{settings.learning_rate:g}, on {texts}. The loss went from {run.first_loss:.3f} "
        f"to {run.last_loss:.3f} (means of the first and last tenth of the steps{mixed})."
    )
    return f"{title}\n\n{body}\n"


def _evaluation(evaluation: Comparison) -> str:
    """The table of the evaluation, without the folders of models and texts."""
    models = tuple(
        model.model_copy(update={"source": public_path(model.source)})
        for model in evaluation.models
    )
    text = evaluation.text.model_copy(update={"source": public_path(evaluation.text.source)})
    public = evaluation.model_copy(
        update={"models": models, "text": text, "command": (), "warnings": ()}
    )
    return f"## Measured\n\n{evaluation_markdown(public)}"


def _digests(facts: CardFacts) -> Iterator[tuple[str, str]]:
    """Yield the digests of every phase, with their names."""
    records = facts.records
    if records.analysis:
        yield "calibration windows", records.analysis.calibration.digest
        yield "table of groups", records.analysis.table
    if records.cut:
        yield "weights of the base model", records.cut.original_model.weights
        if records.cut.earlier:
            yield "weights before the last cut", records.cut.model.weights
        yield "plan", records.cut.plan
        yield "weights after the cut", records.cut.weights
    if records.compensation:
        yield "compensation windows", records.compensation.text.digest
    for run in records.runs:
        yield "finetuning windows", run.data_digest
        if run.weights:
            yield "weights after finetuning", run.weights
    if records.evaluation:
        yield "evaluation windows", records.evaluation.text.digest


def _text(text: TextRecord) -> str:
    """A text by its public name and its amount."""
    return describe_text(text, markdown_code(public_path(text.source)))
