"""Writes README.md into a result; called by every phase that changes what it says."""

from pathlib import Path

from globalprune.artifacts.disk import write_atomically
from globalprune.card.facts import gather_facts
from globalprune.card.model_card import model_card, naming_warning

CARD_FILE = "README.md"


def write_card(folder: Path, *, name: str, licence_from: Path | None) -> str | None:
    """Write the card of the model in `folder`; return what its licence wants of its name, if unmet.

    `licence_from` is the folder of the model that this one was made from.
    """
    facts = gather_facts(folder, name=name, licence_from=licence_from)
    write_atomically(folder / CARD_FILE, model_card(facts))
    return naming_warning(facts.licence, name)
