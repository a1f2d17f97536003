"""MODEL, as commands take it: refused while the command line is read, if it can be.

So a model that nothing can be done with is answered before torch and its like load.
"""

from typing import Annotated

import typer

_READ_ONLY = (
    "Local folder, Hub id[@revision], or .gguf file (local, or Hub id[@revision]/FILE.gguf)"
)


def refuse_uncuttable(model: str | None) -> str | None:
    """Raise for a model that nothing can be cut of, before the slow libraries load."""
    from globalprune.models import preflight

    if model is not None:
        preflight.refuse_uncuttable(model)
    return model


def _refuse_unreadable(model: str) -> str:
    """Raise for a model that can't be read, before the slow libraries load."""
    from globalprune.models import preflight

    preflight.refuse_unreadable(model)
    return model


def _refuse_any_unreadable(models: list[str]) -> list[str]:
    """The same, for each of them."""
    return [_refuse_unreadable(model) for model in models]


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=f"{_READ_ONLY}; it is only read.",
        show_default=False,
        callback=refuse_uncuttable,
    ),
]
AnyModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Local folder or Hub id[@revision], of any family; it is only read.",
        show_default=False,
        callback=_refuse_unreadable,
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help=f"{_READ_ONLY}; the first is the baseline.",
        show_default=False,
        callback=_refuse_any_unreadable,
    ),
]
