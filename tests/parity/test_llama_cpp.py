"""The real llama.cpp goes on with the tokens that transformers does, from every form we write."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_models import (
    EVERY_KIND_OF_CUT,
    FAMILIES,
    PROMPTS,
    continue_in_transformers,
    export_folder,
    largest_logit_difference,
    save_cut,
)
from llama_cpp import LlamaCpp, loads
from uneven_models import Cut

from globalprune.artifacts.plans.gguf_layout import GgufForm
from globalprune.export import tensors
from globalprune.export.tensors import GgufTensor, TensorRows

ROUNDING = 1e-4  # of float32, in another order of sums
THETA = {"rope_theta": 10000.0}
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}
ODD_CUTS: dict[str, tuple[Cut, tuple[int, ...]]] = {
    "a layer is dropped": ({0: {"mlp": (5, 6)}}, (1,)),
    "no attention anywhere": ({layer: {"attention": ()} for layer in range(4)}, ()),
    "no MLP anywhere": ({layer: {"mlp": ()} for layer in range(4)}, ()),
    "nothing last": ({3: {"attention": (), "mlp": ()}}, ()),
    "nothing first": ({0: {"attention": (), "mlp": ()}}, ()),
    "no attention behind nothing": ({0: {"attention": (), "mlp": ()}, 1: {"attention": ()}}, ()),
    "no attention last": ({3: {"attention": ()}}, ()),
}


@pytest.mark.parametrize("cut", [{}, EVERY_KIND_OF_CUT], ids=["alike", "cut"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_the_same(tmp_path: Path, family: str, cut: Cut) -> None:
    """Layers that are alike in the family's own form, others in the form that counts by layer."""
    one_group = family == "llama with one group"
    if one_group and cut:
        cut = {layer: {"mlp": sublayers.get("mlp", (1,))} for layer, sublayers in cut.items()}
        cut = {**cut, 1: {"attention": ()}}
    folder = save_cut(tmp_path / "model", family, cut)
    done = export_folder(folder)

    assert largest_logit_difference(done.path, folder) < ROUNDING
    assert bool(cut) == (done.architecture in {"deci", "openelm"}) or family == "qwen2 with a head"


@pytest.mark.parametrize("family", ["llama", "llama with every bias", "qwen3"])
@pytest.mark.parametrize("cut", ODD_CUTS.values(), ids=ODD_CUTS)
def test_whatever_is_gone(tmp_path: Path, family: str, cut: tuple[Cut, tuple[int, ...]]) -> None:
    """Output biases stay where they were; a layer that adds nothing isn't written."""
    sublayers, dropped = cut
    folder = save_cut(tmp_path / "model", family, sublayers, dropped=dropped)

    assert largest_logit_difference(export_folder(folder).path, folder) < ROUNDING


@pytest.mark.parametrize(
    ("rope", "family", "cut"),
    [
        *itertools.product(
            ("linear", "yarn"), ("llama", "qwen2", "qwen3"), ({}, EVERY_KIND_OF_CUT)
        ),
        ("llama3", "llama", {}),
        ("llama3", "llama", EVERY_KIND_OF_CUT),
        ("llama3", "qwen2", EVERY_KIND_OF_CUT),
    ],
)
def test_scaled_positions(tmp_path: Path, family: str, rope: str, cut: Cut) -> None:
    """Longer contexts than the model was made for, wherever the form has a word for it."""
    folder = save_cut(tmp_path / "model", family, cut, rope_parameters=ROPES[rope] | THETA)

    assert largest_logit_difference(export_folder(folder).path, folder) < ROUNDING


@pytest.mark.parametrize(
    ("family", "shape", "cut"),
    [
        ("qwen3", {"attention_bias": True}, {}),
        ("qwen3", {"attention_bias": True}, EVERY_KIND_OF_CUT),
        ("qwen3", {"tie_word_embeddings": False}, EVERY_KIND_OF_CUT),
        ("qwen3", {"rope_parameters": ROPES["llama3"] | THETA}, {}),
        ("qwen3", {"rope_parameters": ROPES["llama3"] | THETA}, EVERY_KIND_OF_CUT),
        ("qwen2", {"rope_parameters": ROPES["llama3"] | THETA}, {}),
        ("qwen2", {"hidden_size": 64}, {}),
    ],
)
def test_what_is_refused_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, shape: Any, cut: Cut
) -> None:
    """The table of forms says no more and no less than the program: here it is not asked."""
    monkeypatch.setattr(GgufForm, "missing_features", lambda *_: iter(()))
    monkeypatch.setattr(GgufForm, "narrow_attention", property(lambda _: True))
    folder = save_cut(tmp_path / "model", family, cut, **shape)

    assert not loads(export_folder(folder).path)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("cut", [{}, EVERY_KIND_OF_CUT], ids=["alike", "cut"])
def test_sixteen_bits_and_eight(tmp_path: Path, family: str, cut: Cut) -> None:
    """float16 says the same tokens; bfloat16 and q8_0, to which inputs are rounded too, near."""
    folder = save_cut(tmp_path / "model", family, cut, dtype=torch.float16)
    first = [continue_in_transformers(folder, ids, 1)[1][0] for ids in PROMPTS]

    assert largest_logit_difference(export_folder(folder, None).path, folder) < 0.05
    for dtype, near in (("bf16", 0.1), ("q8_0", 0.3)):
        runtime = LlamaCpp(export_folder(folder, dtype).path)
        found = [runtime.go_on(ids, 1)[1][0] for ids in PROMPTS]
        assert found == pytest.approx(first, abs=near)


READ = TensorRows.read
MISTAKES: dict[str, Any] = {
    "halves of heads as transformers has them": lambda rows, checkpoint: checkpoint.read(rows.name),
    "the same of biases alone": lambda rows, checkpoint: (
        checkpoint.read(rows.name) if rows.name.endswith(".bias") else READ(rows, checkpoint)
    ),
    "heads of another size": lambda rows, checkpoint: READ(
        replace(rows, heads=rows.heads and 2 * rows.heads), checkpoint
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_order_of_rows_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Any
) -> None:
    """Else the tests above would prove nothing."""
    monkeypatch.setattr(TensorRows, "read", mistake)
    folder = save_cut(tmp_path / "model", "llama with every bias", EVERY_KIND_OF_CUT)

    assert largest_logit_difference(export_folder(folder).path, folder) > 0.05


def test_padding_that_adds_something_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so would factors of another rope."""
    rope = ROPES["llama3"] | THETA
    folder = save_cut(tmp_path / "model", "llama", EVERY_KIND_OF_CUT, rope_parameters=rope)
    assert largest_logit_difference(export_folder(folder).path, folder) < ROUNDING
    with monkeypatch.context() as context:
        context.setattr(tensors, "frequency_factors", lambda *_: np.ones(8))
        assert largest_logit_difference(export_folder(folder).path, folder) > 0.05
    read = GgufTensor.read
    monkeypatch.setattr(
        GgufTensor,
        "read",
        lambda self, checkpoint: read(self if self.rows else replace(self, fill=0.2), checkpoint),
    )
    assert largest_logit_difference(export_folder(folder).path, folder) > 0.05
