"""What the common model licences demand of a changed model, as a literal table; not legal advice.

Keyed by the `license` / `license_name` that a model card on the Hub states.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


@dataclass(frozen=True)
class Duties:
    """What whoever passes the model on must do beyond adding the licence text."""

    notice: str | None = None  # words that must be displayed
    name_begins: str | None = None  # what the name of a model made from it must begin with
    advice: str = ""


_LLAMA = "Pass on the licence text and the NOTICE file, and keep to the acceptable use policy."
_READ = "Read the licence before you pass this model on: it has conditions of its own."
_PERMISSIVE = (
    "Pass on the licence text (and NOTICE, if there is one) and say that files were changed."
)

DUTIES: dict[str, Duties] = {
    "apache-2.0": Duties(advice=_PERMISSIVE),
    "mit": Duties(advice=_PERMISSIVE),
    "llama2": Duties(advice=_LLAMA),
    "llama3": Duties("Built with Meta Llama 3", "Llama 3", _LLAMA),
    "llama3.1": Duties("Built with Llama", "Llama", _LLAMA),
    "llama3.2": Duties("Built with Llama", "Llama", _LLAMA),
    "llama3.3": Duties("Built with Llama", "Llama", _LLAMA),
    "llama4": Duties("Built with Llama", "Llama", _LLAMA),
    "gemma": Duties(
        advice="Pass on the Gemma Terms of Use with their use restrictions, and say that files "
        "were changed."
    ),
    "qwen-research": Duties(
        notice="Built with Qwen",
        advice="The Qwen Research licence allows non-commercial use only; " + _READ,
    ),
    "qwen": Duties(notice="Built with Qwen", advice=_READ),
    "mrl": Duties(
        advice="The Mistral Research licence allows research use only; " + _READ,
    ),
    "other": Duties(advice=_READ),
}

# how the texts begin, in lower case; the first that is found counts
TEXTS: tuple[tuple[str, str], ...] = (
    ("llama 4 community license", "llama4"),
    ("llama 3.3 community license", "llama3.3"),
    ("llama 3.2 community license", "llama3.2"),
    ("llama 3.1 community license", "llama3.1"),
    ("llama 3 community license", "llama3"),
    ("llama 2 community license", "llama2"),
    ("gemma terms of use", "gemma"),
    ("qwen research license", "qwen-research"),
    ("tongyi qianwen license", "qwen"),
    ("mistral ai research license", "mrl"),
    ("apache license", "apache-2.0"),
    ("mit license", "mit"),
)
HUB_NAMES = frozenset(  # the Hub knows them as values of `license`
    ("apache-2.0", "mit", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4")
)
_FIELDS = {  # of a card's front matter: an identifier, a name, a link or a file beside the card
    "license": re.compile(r"[\w.+-]{1,80}", re.ASCII),
    "license_name": re.compile(r"[\w.+-]+(?: [\w.+-]+){0,11}", re.ASCII),
    "license_link": re.compile(
        r"(?:https?://[\w.-]+(?::\d+)?(?:/[\w.~%/?=&#+:@,-]*)?|[\w.-]+)", re.ASCII
    ),
}
_HEAD = 2000  # bytes; a licence names itself at its top
_MATTER = 200_000  # bytes; no front matter is longer


@dataclass(frozen=True)
class Licence:
    """What the base model's card says of its licence; `name` is None where nothing was found."""

    name: str | None = None  # the Hub's identifier, or the text's own name where that is "other"
    link: str | None = None
    front_matter: tuple[tuple[str, Any], ...] = ()  # to be carried over as it stands

    @property
    def duties(self) -> Duties:
        """What the table knows of this licence."""
        return DUTIES.get((self.name or "").lower(), Duties(advice=_READ))


def licence_of(folder: Path | None, texts: Sequence[str] = ()) -> Licence:
    """Read the licence from the base model's README.md, else from the head of its `texts`."""
    readme = None if folder is None else folder / "README.md"
    matter = _front_matter(readme) if readme and readme.is_file() else {}
    kept = tuple((key, matter[key]) for key in _FIELDS if _is_plausible(key, matter.get(key)))
    stated = dict(kept)
    name = stated.get("license")
    if name == "other":
        name = stated.get("license_name", name)
    if name is None and folder is not None:
        name = next(filter(None, (_named_in(folder / text) for text in texts)), None)
        kept = (("license", name),) if name in HUB_NAMES else ()
    return Licence(name, stated.get("license_link"), kept)


def _is_plausible(key: str, value: Any) -> bool:
    """Whether a field of a stranger's card is what it should be, and not text to be shown."""
    return isinstance(value, str) and _FIELDS[key].fullmatch(value) is not None


def unmet_name(duties: Duties, name: str) -> str | None:
    """Say what the name must begin with, if it doesn't; hyphens, spaces and case don't count."""
    wanted = duties.name_begins
    if wanted is None or _plain(name).startswith(_plain(wanted)):
        return None
    return wanted


def _named_in(text: Path) -> str | None:
    """The licence that a text says it is."""
    head = _beginning(text, _HEAD).lower()
    return next((name for words, name in TEXTS if words in head), None)


def _beginning(path: Path, size: int) -> str:
    """The first bytes of a file as text."""
    with path.open("rb") as file:
        return file.read(size).decode("utf-8", errors="replace")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _front_matter(readme: Path) -> dict[str, Any]:
    """The YAML between the first two `---` lines; nothing where none can be read."""
    lines: Sequence[str] = _beginning(readme, _MATTER).splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        return {}
    end = [line.strip() for line in lines[1:]].index("---") + 1
    try:
        loaded = YAML(typ="safe", pure=True).load("\n".join(lines[1:end]))
    except (YAMLError, RecursionError, TypeError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
