"""Silences what transformers, tokenizers and peft write to the terminal.

Their own switches are used where they reach; a comment says where they don't.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' log and bars, and all that is written to stderr meanwhile."""
    # no switch reaches the bar of its GGUF reader
    with quiet_logs(), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Silence transformers' log and bars, and restore its settings; others may write meanwhile."""
    verbosity = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def quiet_rust() -> Iterator[None]:
    """Silence the Rust code of tokenizers, and Python's own streams; for short work only.

    It has no switch, and writes to the file descriptors of stdout and stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.ExitStack() as restored, open(os.devnull, "wb") as devnull:  # noqa: PTH123
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # closed already
                copy = os.dup(descriptor)
                restored.callback(os.close, copy)
                restored.callback(os.dup2, copy, descriptor)
                os.dup2(devnull.fileno(), descriptor)
        yield


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence the warnings that peft uses names that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft)")
        yield
