"""LoRA adapters through peft, which is slow to import: only where there is an adapter."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def merge_adapter(model: Any, adapter: Path) -> Any:
    """Add a stored adapter to the weights of its base model; the result is a plain model again."""
    from peft import PeftModel

    with quiet_peft():
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep it to ourselves that peft uses names which transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="(transformers|peft)")
        yield
