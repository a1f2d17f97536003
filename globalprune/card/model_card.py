"""README.md of a result: the model card, made from its records."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluations.evaluation import Comparison
from globalprune.artifacts.evaluations.evaluation_table import evaluation_markdown
from globalprune.artifacts.formatting import (
    code_literal,
    describe_text,
    escape_markdown,
    markdown_code,
)
from globalprune.artifacts.records import TextRecord, format_command
from globalprune.artifacts.results.cut import ApplyMetrics, CompensationRecord, EarlierStep
from globalprune.artifacts.results.finetuning import FinetuneRun
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.card.facts import CardFacts, gather_facts, public_path
from globalprune.card.licences import Licence, missing_prefix
from globalprune.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_KINDS: Final = {
    "attention": "attention groups (a key/value head with its query heads)",
    "mlp": "MLP channels",
}
CARD_FILE: Final = "README.md"
_TASK: Final = "text-generation"
_BUILTIN: Final = "builtin"
_BUILTIN_NAME: Final = "the part of CPython's manual that calibration never sees"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(folder: Path, *, name: str, licence_from: Path | None) -> str | None:
    """Write the card of the model in `folder`; return a warning if its licence wants another name.

    `licence_from` is the folder of the model that this one was made from.
    """
    facts = gather_facts(folder, name=name, licence_from=licence_from)
    write_atomically(folder / CARD_FILE, model_card(facts))
    return naming_warning(facts.licence, name)


def model_card(facts: CardFacts) -> str:
    """Return the text of the whole card."""
    sections = (
        _front_matter(facts),
        *_history(facts),
        _loading(facts),
        *_reproduction(facts),
        _cautions(),
        _licence(facts),
    )
    return "\n".join(sections)


def naming_warning(licence: Licence, name: str) -> str | None:
    """Return a warning if the licence wants another name for the model."""
    prefix = missing_prefix(licence.duties, name)
    if prefix is None:
        return None
    return (
        f"{name}: the base model's licence ({licence.name}) wants the name of a model made from it "
        f'to begin with "{prefix}"; rename it before you pass it on.'
    )


def _history(facts: CardFacts) -> Iterator[str]:
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


def _reproduction(facts: CardFacts) -> Iterator[str]:
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
    """Return what was removed of what."""
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
    """Return what was done before the last cut, step by step."""
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
    """Return what a quantised base means for the result."""
    quantisation = cut.original_model.quantisation
    if quantisation is None:
        return []
    sentence = (
        f"The base was a {escape_markdown(quantisation)} quantisation. Its weights were "
        "dequantised, and what they had lost in precision is lost here too."
    )
    return ["", sentence]


def _afterwards(facts: CardFacts) -> str:
    """Return what was done with the rest, in a sentence."""
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
    """Return what was trained on what, and how the loss fell."""
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
    """Return the table of the evaluation, without the folders of models and texts."""
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
    """Return a text by its public name and its amount."""
    return describe_text(text, markdown_code(public_path(text.source)))


def _front_matter(facts: CardFacts) -> str:
    """Return the machine-readable head that the Hub reads."""
    from huggingface_hub import ModelCardData

    fields: dict[str, Any] = dict(facts.licence.front_matter)
    if facts.base_is_on_hub:
        fields["base_model"] = facts.base_id
        # the Hub has no word for pruned; an adapter fits the cut model, and not the base
        fits = facts.is_adapter and not facts.records.cut
        fields["base_model_relation"] = "adapter" if fits else "finetune"
    if results := _eval_results(facts):
        fields |= {"model_name": printable(facts.name), "eval_results": results}
    data = ModelCardData(
        library_name="peft" if facts.is_adapter else "transformers",
        pipeline_tag=_TASK,
        tags=(["pruned"] if facts.records.cut else []) + ["globalprune"],
        **fields,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _eval_results(facts: CardFacts) -> "list[EvalResult]":
    """Return the perplexity of the weights in the folder; empty where they were never evaluated."""
    from huggingface_hub import EvalResult

    evaluation = facts.records.evaluation
    if evaluation is None:
        return []
    text, weights = evaluation.text, _weights(facts)
    evaluated = [model for model in evaluation.models if model.weights == weights]
    length = "rows" if text.seq_len is None else f"windows of {text.seq_len} tokens"
    return [
        EvalResult(
            task_type=_TASK,
            metric_type="perplexity",
            metric_value=float(f"{model.perplexity.value:.6g}"),
            metric_name=f"perplexity, {text.samples:,} {length}, computed in {model.dtype}",
            **_dataset(text.source),
        )
        for model in evaluated[-1:]
        if model.perplexity.value is not None
    ]


def _weights(facts: CardFacts) -> str | None:
    """The fingerprint of the weights in the folder: of the last finetuning, else of the cut."""
    records = facts.records
    if records.runs:
        return records.runs[-1].weights
    return None if records.cut is None else records.cut.weights


def _dataset(source: str) -> dict[str, Any]:
    """Return the text as an `EvalResult` names it, as far as the record knows."""
    if source == _BUILTIN:
        return {"dataset_name": _BUILTIN_NAME, "dataset_type": _BUILTIN}
    identifier, *more = source.split(":")
    if Path(source).expanduser().exists() or not _HUB_ID.fullmatch(identifier):
        name = printable(public_path(source))
        return {"dataset_name": name, "dataset_type": name}
    known = dict(zip(("dataset_config", "dataset_split"), more, strict=False))
    return {
        "dataset_name": source,
        "dataset_type": identifier,
        **(known if len(known) == len(more) == 2 else {}),  # noqa: PLR2004 - config and split
    }


def _loading(facts: CardFacts) -> str:
    """Return how to load the model, with transformers and with globalprune."""
    name = code_literal(facts.name)
    ours = _code(
        "import globalprune",
        "",
        f"model = globalprune.load_model({name})",
        f"tokenizer = globalprune.load_tokenizer({name})",
    )
    if facts.is_adapter:
        lead = (
            "This folder holds a LoRA adapter alone. `adapter_config.json` names the model that it "
            "belongs to, which is loaded too:"
        )
        return "\n".join(["## How to load it", "", lead, *ours])
    trust, lead = "", "Its layers are all alike, so transformers alone is enough:"
    if facts.uneven:
        trust = ", trust_remote_code=True"
        lead = (
            "Its layers differ in size, so transformers (5.15 or newer) has to be allowed to run "
            "the modeling file of this folder, for the tokenizer too. Without that, a load stops "
            "with `AmbiguousGlobalPerLayerAttributeError`; add `trust_remote_code=True`, not what "
            "that message proposes:"
        )
    loaded = f"from_pretrained({name}{trust})"
    theirs = _code(
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.{loaded}",
        f"tokenizer = AutoTokenizer.{loaded}",
        'inputs = tokenizer("Once upon a time", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))",
    )
    other = (
        "globalprune does the same without running any code from this folder, and refuses a "
        "damaged one:"
    )
    return "\n".join(["## How to load it", "", lead, *theirs, other, *ours])


def _code(*lines: str) -> tuple[str, ...]:
    return ("", "```python", *lines, "```", "")


def _link(link: str) -> str:
    """Return a link of the web as a link, the name of a file as code."""
    return f"<{link}>" if "://" in link else markdown_code(link)


def _cautions() -> str:
    """Return what was not evaluated."""
    return (
        "## What was not checked\n\n"
        "Safety and alignment were not evaluated again after the cut. Pruning can undo what "
        "instruction tuning and safety training taught the base model; evaluate this model for "
        "your own use before you rely on it.\n"
    )


def _licence(facts: CardFacts) -> str:
    """Return the licence, and what it demands of a person who passes the model on."""
    licence, lines = facts.licence, ["## Licence", ""]
    if licence.name is None:
        lines.append(
            f"The licence of {markdown_code(facts.base)} could not be found beside its weights. "
            "Look it up and add it here before you pass this model on: it applies to this "
            "model too."
        )
    else:
        lines.append(
            f"The base model's licence applies: {escape_markdown(licence.name)}. "
            f"{licence.duties.advice}"
        )
    if licence.link:
        lines += ["", f"Its text: {_link(licence.link)}"]
    if facts.licence_files:
        names = ", ".join(map(markdown_code, facts.licence_files))
        lines += ["", f"Copied from the base model: {names}."]
    if licence.duties.notice:
        lines += ["", f'It asks to show "{licence.duties.notice}" prominently.']
    warning = naming_warning(licence, facts.name)
    if warning is not None:
        lines += ["", f"**{escape_markdown(warning)}**"]
    return "\n".join(lines) + "\n"
