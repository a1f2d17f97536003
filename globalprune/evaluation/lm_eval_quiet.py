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

_LOGGERS: Final = ("lm_eval", "datasets", "evaluate", "huggingface_hub", "httpx")
# lm-eval has no switch for its bars, and our progress shows what they show
_MODULES_WITH_BARS: Final = (
    "lm_eval.api.task",
    "lm_eval.api.model",
    "lm_eval.models.huggingface",
)
# lm-eval's own switch: a fork of a process full of threads for its bootstrap can hang
_ONE_PROCESS: Final = "DISABLE_MULTIPROC"


@contextlib.contextmanager
def quiet_lm_eval(progress: Progress) -> Iterator[None]:
    """Silence lm-eval in the block; `progress` shows its work, and its prints go to stderr."""
    with contextlib.ExitStack() as undo:
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        _silence_logs(undo)
        _silence_data_bars(undo)
        _set_environment(undo)
        for name in _MODULES_WITH_BARS:
            module: Any = importlib.import_module(name)
            undo.callback(setattr, module, "tqdm", module.tqdm)
            module.tqdm = _bar_of(progress)
        yield


def _silence_logs(undo: contextlib.ExitStack) -> None:
    """Let the libraries log errors only."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)


def _silence_data_bars(undo: contextlib.ExitStack) -> None:
    """Let `datasets` draw no bars."""
    import datasets

    if not datasets.are_progress_bars_disabled():
        datasets.disable_progress_bars()
        undo.callback(datasets.enable_progress_bars)


def _set_environment(undo: contextlib.ExitStack) -> None:
    """Let lm-eval work in this process alone."""
    before = os.environ.get(_ONE_PROCESS)
    if before is None:
        undo.callback(os.environ.pop, _ONE_PROCESS, None)
    else:
        undo.callback(os.environ.update, {_ONE_PROCESS: before})
    os.environ[_ONE_PROCESS] = "1"


def _bar_of(progress: Progress) -> Any:
    """A function that takes tqdm's place."""

    def bar(items: Iterable[Any] | None = None, **settings: Any) -> _Bar:
        return _Bar(items, settings, progress)

    return bar


class _Bar:
    """What lm-eval uses of tqdm: a bar around an iterable, or one that it moves itself."""

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
        """Move the bar on by so many steps."""
        for _ in range(steps):
            next(self._items, None)

    def close(self) -> None:
        """Move the bar to its end."""
        for _ in self._items:
            pass
