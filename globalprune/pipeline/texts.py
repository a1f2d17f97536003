"""Which text a run of phases reads, by what its files hold: they may change while it is stopped."""

from collections.abc import Iterable

from globalprune.text.files import files_digest
from globalprune.text.source import LocalText
from globalprune.text.training import parse_mixture


def text_digests(names: Iterable[str | None]) -> dict[str, str | None]:
    """The digest of each text that lies on this machine, by its name; None for one from elsewhere.

    What the interpreter carries changes with its version alone. Text from the Hub is known by its
    windows, once they are cut.
    """
    found: dict[str, str | None] = {}
    for name in names:
        if name is not None:
            source = parse_mixture([name])[0].source
            found[name] = files_digest(source.paths) if isinstance(source, LocalText) else None
    return found
