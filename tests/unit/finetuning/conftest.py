"""What several files here look at: uneven models that were finetuned, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_finetunings import cut_unevenly, finetuned

Tiny = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a folder with a cut model, cut/out, what became of it, merged, and the adapter alone."""
    done: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in done:
            folder = tmp_path_factory.mktemp(family)
            (folder / "cut").mkdir()
            cut = cut_unevenly(tiny(family), folder / "cut", family)
            finetuned(cut, folder / "merged")
            finetuned(cut, folder / "adapter", keep_adapter=True)
            done[family] = folder
        return done[family]

    return make
