"""The log lines and progress bars of transformers, tokenizers and peft, silenced."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence its bars, its log and the bars of what it calls, and set everything back."""
    # the GGUF reader draws a bar of its own that no switch reaches
    with quiet_logs(), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def quiet_rust() -> Iterator[None]:
    """Silence tokenizers' Rust code, which writes to the descriptors of stdout and stderr itself.

    Python's own streams are silent meanwhile, too: for what takes no time alone.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.ExitStack() as kept, open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # closed already
                copy = os.dup(descriptor)
                kept.callback(os.close, copy)
                kept.callback(os.dup2, copy, descriptor)
                os.dup2(nowhere.fileno(), descriptor)
        yield


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Silence its bars and its log, while others may write, and set everything back."""
    verbosity = transformers_logging.get_verbosity()
    showed_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if showed_bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep it to ourselves that peft uses names which transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft)")
        yield
