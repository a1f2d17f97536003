"""Keeps peft quiet; it is slow to import, and only loads where an adapter is trained."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep it to ourselves that peft uses names which transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft)")
        yield
