"""lm-eval without its chatter: its prints, its log lines and its bars.

Everything that is silenced about lm-eval is silenced here, and only while the block runs.
"""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from globalprune.progress import Progress

_WITH_BARS: Final = ("lm_eval.api.task", "lm_eval.api.model", "lm_eval.models.huggingface")
_LOGGERS: Final = ("lm_eval", "datasets", "evaluate", "huggingface_hub", "httpx")
# one process for bootstrapping: a fork of a process full of threads can hang
_ENVIRONMENT: Final = {"DISABLE_MULTIPROC": "1"}


@contextlib.contextmanager
def quiet_lm_eval(progress: Progress) -> Iterator[None]:
    """Let lm-eval work; what it prints to stdout goes to stderr."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        for name in _LOGGERS:
            stack.enter_context(_level(logging.getLogger(name)))
        stack.enter_context(_environment())
        stack.enter_context(_no_data_bars())
        for module in _WITH_BARS:
            stack.enter_context(_bars_of(importlib.import_module(module), progress))
        yield


@contextlib.contextmanager
def _level(logger: logging.Logger) -> Iterator[None]:
    """Let a logger speak of errors only."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set what lm-eval reads from the environment."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_data_bars() -> Iterator[None]:
    """Let `datasets` draw no bars."""
    import datasets

    were_shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_shown:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _bars_of(module: Any, progress: Progress) -> Iterator[None]:
    """Put our progress in the place of a module's tqdm."""
    before = module.tqdm

    def bar(items: Iterable[Any] | None = None, **settings: Any) -> _Bar:
        return _Bar(items, settings, progress)

    module.tqdm = bar
    try:
        yield
    finally:
        module.tqdm = before


class _Bar:
    """What lm-eval uses of tqdm: around an iterable, or pushed on by hand."""

    def __init__(
        self, items: Iterable[Any] | None, settings: dict[str, Any], progress: Progress
    ) -> None:
        listed = None if items is None else list(items)
        total = settings.get("total", 0) if listed is None else len(listed)
        self._items = progress(
            range(total) if listed is None else listed,
            total=total,
            label=str(settings.get("desc") or "building requests").lower(),
            unit="requests",
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield the items."""
        return self._items

    def update(self, steps: int = 1) -> None:
        """Be so many further."""
        for _ in range(steps):
            next(self._items, None)

    def close(self) -> None:
        """Be done."""
        for _ in self._items:
            pass
