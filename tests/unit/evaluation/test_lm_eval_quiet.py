"""lm-eval is silent in the block, and everything is set back behind it."""

import logging
import os
from contextlib import suppress
from typing import Any

import datasets
import pytest
from lm_eval.models import huggingface

from globalprune.evaluation.lm_eval_quiet import quiet_lm_eval
from globalprune.progress import silent


def state() -> tuple[Any, ...]:
    """All that is changed."""
    return (
        huggingface.tqdm,
        logging.getLogger("lm_eval").level,
        datasets.are_progress_bars_disabled(),
        os.environ.get("DISABLE_MULTIPROC"),
    )


@pytest.mark.parametrize("value", [None, "0"])
@pytest.mark.parametrize("shown", [True, False])
def test_all_is_set_back_even_behind_an_error(
    monkeypatch: pytest.MonkeyPatch, value: str | None, *, shown: bool
) -> None:
    """As it was before, whatever that is."""
    if value is None:
        monkeypatch.delenv("DISABLE_MULTIPROC", raising=False)
    else:
        monkeypatch.setenv("DISABLE_MULTIPROC", value)
    was_disabled = datasets.are_progress_bars_disabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    before = state()
    with suppress(OSError), quiet_lm_eval(silent):
        assert state()[1:] == (logging.ERROR, True, "1")
        raise OSError
    assert state() == before
    (datasets.disable_progress_bars if was_disabled else datasets.enable_progress_bars)()


def test_prints_go_to_stderr_and_bars_are_our_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar wraps items, or is moved by lm-eval itself."""
    shown: list[Any] = []

    def progress(items: Any, *, total: int, label: str, unit: str) -> Any:
        shown.append((label, total, unit))
        return silent(items, total=total, label=label, unit=unit)

    with quiet_lm_eval(progress):
        print("chatter")  # noqa: T201 - as lm-eval does
        assert list(huggingface.tqdm("ab")) == ["a", "b"]
        bar = huggingface.tqdm(total=3, desc="Running", disable=False)
        bar.update()
        bar.update(2)
        bar.close()
    assert shown == [("building requests", 2, "requests"), ("running", 3, "requests")]
    assert capsys.readouterr() == ("", "chatter\n")
