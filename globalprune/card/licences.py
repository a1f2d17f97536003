"""What common model licences demand of a changed model, as a literal table; not legal advice.

The table's keys are the `license` or `license_name` of a model card on the Hub.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml


@dataclass(frozen=True)
class Duties:
    """What a person who passes the model on must do beyond adding the licence text."""

    notice: str | None = None  # words that must be displayed
    name_prefix: str | None = None  # of the name of every model made from it
    advice: str = ""


_LLAMA: Final = (
    "Pass on the licence text and the NOTICE file, and keep to the acceptable use policy."
)
_READ: Final = "Read the licence before you pass this model on: it has conditions of its own."
_PERMISSIVE: Final = (
    "Pass on the licence text (and NOTICE, if there is one) and say that files were changed."
)

DUTIES: Final[dict[str, Duties]] = {
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

# words at the top of a licence text, in lower case; the first entry that is found counts
TEXTS: Final[tuple[tuple[str, str], ...]] = (
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
HUB_NAMES: Final = frozenset(  # values that the Hub knows for `license`
    ("apache-2.0", "mit", "gemma", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4")
)
_FIELDS: Final = {  # of a card's front matter: an identifier, a name, a link or the name of a file
    "license": re.compile(r"[\w.+-]{1,80}", re.ASCII),
    "license_name": re.compile(r"[\w.+-]+(?: [\w.+-]+){0,11}", re.ASCII),
    "license_link": re.compile(
        r"(?:https?://[\w.-]+(?::\d+)?(?:/[\w.~%/?=&#+:@,-]*)?|[\w.-]+)", re.ASCII
    ),
}
_TEXT_BYTES: Final = 2000  # of a licence text; it names itself at its top
_CARD_BYTES: Final = 200_000  # of a card; its front matter is no longer


@dataclass(frozen=True)
class Licence:
    """The base model's licence; `name` is None where none is found."""

    name: str | None = None  # the Hub's identifier, or the text's own name where that is "other"
    link: str | None = None
    front_matter: tuple[tuple[str, str], ...] = ()  # fields of its card, for ours

    @property
    def duties(self) -> Duties:
        """Return what the table demands of this licence."""
        return DUTIES.get((self.name or "").lower(), Duties(advice=_READ))


def read_licence(folder: Path | None, texts: Sequence[str] = ()) -> Licence:
    """Read the licence from README.md in the base model's folder, else from its licence `texts`."""
    readme = None if folder is None else folder / "README.md"
    matter = _front_matter(readme) if readme and readme.is_file() else {}
    fields = {key: matter[key] for key in _FIELDS if _is_plausible(key, matter.get(key))}
    name = fields.get("license")
    if name == "other":
        name = fields.get("license_name", name)
    if name is None and folder is not None:
        name = next(filter(None, (_name_of_text(folder / text) for text in texts)), None)
        fields = {"license": name} if name in HUB_NAMES else {}
    return Licence(name, fields.get("license_link"), tuple(fields.items()))


def missing_prefix(duties: Duties, name: str) -> str | None:
    """Return the prefix that a name needs and lacks; hyphens, spaces and case don't count."""
    prefix = duties.name_prefix
    if prefix is None or _normalised(name).startswith(_normalised(prefix)):
        return None
    return prefix


def _normalised(name: str) -> str:
    """Return a name without case and separators."""
    return re.sub(r"[-_ ]", "", name.lower())


def _front_matter(readme: Path) -> dict[str, Any]:
    """Return the YAML between the first two `---` lines; empty where there is none or it is broken.

    Read by hand: huggingface_hub's ModelCard reads the whole of a stranger's file, and refuses a
    card for any wrong field of it.
    """
    lines = _first_bytes(readme, _CARD_BYTES).splitlines()
    marks = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if len(marks) < 2 or marks[0] != 0:  # noqa: PLR2004 - one before the YAML, one behind it
        return {}
    try:
        loaded = yaml.safe_load("\n".join(lines[1 : marks[1]]))
    except (yaml.YAMLError, RecursionError, TypeError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _is_plausible(key: str, value: Any) -> bool:
    """Whether a field of a stranger's card has its usual form, so that it can't act as markup."""
    return isinstance(value, str) and _FIELDS[key].fullmatch(value) is not None


def _name_of_text(text: Path) -> str | None:
    """Return the licence that a text names at its top."""
    head = _first_bytes(text, _TEXT_BYTES).lower()
    return next((name for words, name in TEXTS if words in head), None)


def _first_bytes(path: Path, size: int) -> str:
    """Return the first bytes of a file as text."""
    with path.open("rb") as file:
        return file.read(size).decode("utf-8", errors="replace")
