"""README.md of a result: the model card, made from its records."""

import re
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from globalprune.artifacts.analyses.analysis import TextRecord
from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.evaluations.evaluation import ModelResult
from globalprune.artifacts.formatting import code_literal, escape_markdown, markdown_code
from globalprune.card.facts import CardFacts, gather_facts, last_part
from globalprune.card.history import history, repetition
from globalprune.card.licences import Licence, unmet_name

_TASK: Final = {"type": "text-generation"}
_BUILTIN: Final = "builtin"
_BUILTIN_NAME: Final = "the part of CPython's manual that calibration never sees"
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def model_index(facts: CardFacts) -> list[dict[str, Any]]:
    """The figures of this very model, by its weights; empty where it was never judged."""
    evaluation = facts.records.evaluation
    if evaluation is None:
        return []
    weights = _weights(facts)
    judged = [model for model in evaluation.models if model.weights == weights]
    metrics = [metric for model in judged[-1:] for metric in _metrics(model, evaluation.text)]
    if not metrics:
        return []
    results = [{"task": _TASK, "dataset": _dataset(evaluation.text.source), "metrics": metrics}]
    return [{"name": facts.name, "results": results}]


def _weights(facts: CardFacts) -> str | None:
    """The fingerprint of what lies in the folder: of the last finetuning, else of the cut."""
    records = facts.records
    if records.runs:
        return records.runs[-1].weights
    return None if records.cut is None else records.cut.weights


def _metrics(model: ModelResult, text: TextRecord) -> list[dict[str, Any]]:
    value = model.perplexity.value
    if value is None:
        return []
    length = "rows" if text.seq_len is None else f"windows of {text.seq_len} tokens"
    name = f"perplexity, {text.samples:,} {length}, computed in {model.dtype}"
    return [{"type": "perplexity", "value": float(f"{value:.6g}"), "name": name}]


def _dataset(source: str) -> dict[str, str]:
    """How the Hub would name the text, as far as the record says."""
    if source == _BUILTIN:
        return {"name": _BUILTIN_NAME, "type": _BUILTIN}
    identifier, *more = source.split(":")
    if Path(source).expanduser().exists() or not _HUB_ID.fullmatch(identifier):
        name = last_part(source)
        return {"name": name, "type": name}
    named = dict(zip(("config", "split"), more, strict=True)) if len(more) == 2 else {}  # noqa: PLR2004
    return {"name": source, "type": identifier, **named}


_WIDTH: Final = 100_000  # columns: a value that is folded could look like a line of its own


def model_card(facts: CardFacts) -> str:
    """Write the whole card."""
    sections = (
        _front_matter(facts),
        *history(facts),
        _loading(facts),
        *repetition(facts),
        _cautions(),
        _licence(facts),
    )
    return "\n".join(sections)


def naming_warning(licence: Licence, name: str) -> str | None:
    """Say that the licence wants another name, if it does."""
    wanted = unmet_name(licence.duties, name)
    if wanted is None:
        return None
    return (
        f"{name}: the base model's licence ({licence.name}) wants the name of a model made from it "
        f'to begin with "{wanted}"; rename it before you pass it on.'
    )


def _front_matter(facts: CardFacts) -> str:
    """The machine-readable head that the Hub reads."""
    head: dict[str, Any] = {}
    if facts.base_is_on_hub:
        head["base_model"] = facts.base_id
        # the Hub has no word for pruned; an adapter fits the cut model, and not the base
        fits = facts.is_adapter and not facts.records.cut
        head["base_model_relation"] = "adapter" if fits else "finetune"
    head |= dict(facts.licence.front_matter)
    head |= {
        "library_name": "peft" if facts.is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": (["pruned"] if facts.records.cut else []) + ["globalprune"],
    }
    if index := model_index(facts):
        head["model-index"] = index
    stream = StringIO()
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(head, stream)
    return f"---\n{stream.getvalue()}---\n"


def _loading(facts: CardFacts) -> str:
    """The ways in which this model can be loaded."""
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
    """A link as a link, the name of a file as a name."""
    return f"<{link}>" if "://" in link else markdown_code(link)


def _cautions() -> str:
    """What nobody has checked."""
    return (
        "## What was not checked\n\n"
        "Safety and alignment were not evaluated again after the cut. Pruning can undo what "
        "instruction tuning and safety training taught the base model; evaluate this model for "
        "your own use before you rely on it.\n"
    )


def _licence(facts: CardFacts) -> str:
    """The licence, and what it asks of whoever passes the model on."""
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


CARD_FILE = "README.md"


def write_card(folder: Path, *, name: str, licence_from: Path | None) -> str | None:
    """Write the card of the model in `folder`; return what its licence wants of its name, if unmet.

    `licence_from` is the folder of the model that this one was made from.
    """
    facts = gather_facts(folder, name=name, licence_from=licence_from)
    write_atomically(folder / CARD_FILE, model_card(facts))
    return naming_warning(facts.licence, name)
