"""What every test shares: one thread, fixed seeds, tiny models saved once a session."""

import gc
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["GLOBALPRUNE_CACHE"] = tempfile.mkdtemp(prefix="globalprune-tests-")

import pytest

QUICK_FAMILIES = ("llama", "gemma3", "mixtral")  # plain; norms behind its sublayers; experts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what repeats a law for one more family, which `make check` leaves to `make test`."""
    from tiny_models import FAMILIES, MIXTURES

    more = {*FAMILIES, *MIXTURES} - set(QUICK_FAMILIES)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            names = {re.split(r"\W", str(value))[0] for value in item.callspec.params.values()}
            if names & more and names.isdisjoint(QUICK_FAMILIES):
                item.add_marker(pytest.mark.more_families)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a saved tiny model of a family; read only, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        from tiny_models import save_tiny

        if family not in made:
            made[family] = save_tiny(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


@pytest.fixture(autouse=True)
def _young_objects_only() -> Iterator[None]:
    """Spare each garbage collection the walk through all imported libraries, half a second long."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    """Make sums repeatable."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
