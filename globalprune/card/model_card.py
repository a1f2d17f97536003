"""README.md of a result: the model card, made from its records."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.formatting import code_literal, escape_markdown, markdown_code
from globalprune.card.facts import CardFacts, gather_facts, public_path
from globalprune.card.history import history_sections, reproduction_section
from globalprune.card.licences import Licence, missing_prefix
from globalprune.printable import printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

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
        *history_sections(facts),
        _loading(facts),
        *reproduction_section(facts),
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


def _front_matter(facts: CardFacts) -> str:
    """The machine-readable head that the Hub reads."""
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
    """The perplexity of the weights in the folder; empty where they were never evaluated."""
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
    """The text as an `EvalResult` names it, as far as the record knows."""
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
    """How to load the model, with transformers and with globalprune."""
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
    """A link of the web as a link, the name of a file as code."""
    return f"<{link}>" if "://" in link else markdown_code(link)


def _cautions() -> str:
    """What was not evaluated."""
    return (
        "## What was not checked\n\n"
        "Safety and alignment were not evaluated again after the cut. Pruning can undo what "
        "instruction tuning and safety training taught the base model; evaluate this model for "
        "your own use before you rely on it.\n"
    )


def _licence(facts: CardFacts) -> str:
    """The licence, and what it demands of a person who passes the model on."""
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
