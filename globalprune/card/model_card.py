"""The text of the card: what was done to what, how to load it, what its licence asks.

It claims nothing that was not measured; that safety was not evaluated again, it says.
"""

from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML

from globalprune.artifacts.formatting import code, plain, string_literal
from globalprune.card.facts import CardFacts
from globalprune.card.history import history, repetition
from globalprune.card.licences import Licence, unmet_name
from globalprune.card.model_index import model_index

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
    name = string_literal(facts.name)
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
    return f"<{link}>" if "://" in link else code(link)


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
            f"The licence of {code(facts.base)} could not be found beside its weights. Look it up "
            "and add it here before you pass this model on: it applies to this model too."
        )
    else:
        lines.append(
            f"The base model's licence applies: {plain(licence.name)}. {licence.duties.advice}"
        )
    if licence.link:
        lines += ["", f"Its text: {_link(licence.link)}"]
    if facts.licence_files:
        names = ", ".join(map(code, facts.licence_files))
        lines += ["", f"Copied from the base model: {names}."]
    if licence.duties.notice:
        lines += ["", f'It asks to show "{licence.duties.notice}" prominently.']
    warning = naming_warning(licence, facts.name)
    if warning is not None:
        lines += ["", f"**{plain(warning)}**"]
    return "\n".join(lines) + "\n"
