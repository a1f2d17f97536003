"""The fingerprint of weights: the same for the same weights, another for any other."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.sources.source import ModelSource

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
NOWHERE = ModelSource("held", Path("held"))


@dataclass(frozen=True)
class Held:
    """A checkpoint that lies in memory."""

    held: dict[str, torch.Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    source: ModelSource = NOWHERE
    auxiliary_folder: Path | None = None
    parameters: int = 0

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Shapes and dtypes."""
        return {k: TensorInfo(tuple(v.shape), DTYPES[v.dtype]) for k, v in self.held.items()}

    def read(self, name: str) -> torch.Tensor:
        """One tensor."""
        return self.held[name]


def weights() -> dict[str, torch.Tensor]:
    """A matrix large enough to be sampled, a vector and a scalar."""
    generator = torch.Generator().manual_seed(0)
    return {
        "big": torch.randn(4096, 8, generator=generator),
        "norm": torch.ones(32),
        "scale": torch.tensor(2.0),
    }


FULL = pytest.mark.parametrize("full", [False, True], ids=["quick", "full"])


@FULL
def test_the_order_of_the_tensors_does_not_matter(*, full: bool) -> None:
    """Sharding only changes the order, so it can't change the fingerprint."""
    straight = weights()
    reversed_ = dict(reversed(straight.items()))
    assert weights_fingerprint(Held(straight), full=full) == weights_fingerprint(
        Held(reversed_), full=full
    )


@FULL
@pytest.mark.parametrize(
    "change",
    [
        {"renamed": torch.ones(32)},
        {"norm": torch.ones(32).bfloat16()},
        {"norm": torch.ones(4, 8)},
        {"norm": torch.ones(32) * 2},
        {"big": torch.zeros(4096, 8)},
        {"scale": torch.tensor(3.0)},
    ],
    ids=["name", "dtype", "shape", "small value", "large value", "scalar"],
)
def test_any_change_of_name_dtype_shape_or_value_shows(
    change: dict[str, torch.Tensor], *, full: bool
) -> None:
    """A finetune is another model."""
    before = weights()
    after = before | change
    assert weights_fingerprint(Held(before), full=full) != weights_fingerprint(
        Held(after), full=full
    )


def test_only_the_full_fingerprint_sees_every_byte() -> None:
    """One row in 4096: quick samples 16 of them, full reads all, and their marks differ."""
    before, after = weights(), weights()
    seen = {
        int.from_bytes(hashlib.sha256(f"big/{block}".encode()).digest()[:8], "big") % 4093
        for block in range(4)
    }
    unseen = next(row for row in range(4096) if all(not s <= row < s + 4 for s in seen))
    after["big"][unseen] += 1
    assert weights_fingerprint(Held(before)) == weights_fingerprint(Held(after))
    full = weights_fingerprint(Held(before), full=True)
    assert full != weights_fingerprint(Held(after), full=True)
    assert full.startswith("sha256-full:")
    assert weights_fingerprint(Held(before)).startswith("sha256:")


def test_the_quick_fingerprint_never_changes_between_releases() -> None:
    """Plans and records cite it: a new value would call every old one stale."""
    tensors = {
        "big": torch.arange(32768, dtype=torch.float32).reshape(4096, 8),
        "none": torch.ones(0),
    }
    expected = "sha256:01993caacf713d6c30f730969bf2fdadfdbf2739ffaa9d98ce4ddad9e78b3557"
    assert weights_fingerprint(Held(tensors)) == expected
