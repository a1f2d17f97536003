"""One judgement: losses as the library counts them, distances by their definition."""

from pathlib import Path

import pytest
import torch
from contest.dense_states import dense_states, states_path
from contest.judge import compare, judge
from contest.texts import FOREIGN, OTHER, STRIDED
from measuring import windows_of
from tiny_models import random_ids, tiny_model

from globalprune.evaluation.perplexity import perplexity

WINDOWS = windows_of([*random_ids(2, 140), *random_ids(1, 140, seed=3)])  # longer than a chunk
TEXTS = {STRIDED: WINDOWS, OTHER: WINDOWS, FOREIGN: WINDOWS}


def test_losses_are_the_librarys_and_distances_are_kl(tmp_path: Path) -> None:
    """Σ nll of each window, and Σ_t Σ_v p (ln p - ln q) over the positions that predict."""
    dense, pruned = tiny_model("qwen2"), tiny_model("qwen2", seed=1)
    states = dense_states(tmp_path / "states.safetensors", lambda: dense, {OTHER: WINDOWS})

    found = compare(pruned, WINDOWS, dense.get_output_embeddings(), states[OTHER])

    expected = perplexity(pruned, WINDOWS)
    assert found.nll == pytest.approx(expected.window_nll, rel=1e-5)
    assert found.tokens == expected.window_tokens
    for row, divergence in zip(WINDOWS.rows, found.divergence or (), strict=True):
        with torch.no_grad():
            answers = [m(input_ids=row[None]).logits[0, :-1].double() for m in (dense, pruned)]
        p, q = (logits.softmax(-1) for logits in answers)
        assert divergence == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)


def test_the_dense_model_is_no_way_from_itself(tmp_path: Path) -> None:
    """Its states through its own head are its own answers."""
    dense = tiny_model("llama")
    states = dense_states(tmp_path / "states.safetensors", lambda: dense, {OTHER: WINDOWS})

    found = compare(dense, WINDOWS, dense.get_output_embeddings(), states[OTHER])

    assert found.divergence == pytest.approx([0.0] * 3, abs=1e-4)


def test_strided_windows_and_the_dense_model_are_judged_by_loss_alone(tmp_path: Path) -> None:
    """KL is measured where there are enough windows, and not of the dense model."""
    dense, pruned = tiny_model("llama"), tiny_model("llama", seed=1)
    texts = {OTHER: WINDOWS, FOREIGN: WINDOWS}
    states = dense_states(tmp_path / "states.safetensors", lambda: dense, texts)
    head = dense.get_output_embeddings()

    found = judge(pruned, TEXTS, head, states)

    assert [name for name, text in found.items() if text.divergence is None] == [STRIDED]
    assert found[STRIDED].nll == pytest.approx(found[OTHER].nll, rel=1e-5)
    assert all(text.divergence is None for text in judge(dense, TEXTS, head, None).values())


def test_states_are_computed_once(tmp_path: Path) -> None:
    """A second item reads the file and loads no dense model for it."""
    path = tmp_path / "states.safetensors"
    first = dense_states(path, lambda: tiny_model("llama"), {OTHER: WINDOWS})

    def refuse() -> object:
        raise AssertionError("the dense model ran again")

    again = dense_states(path, refuse, {OTHER: WINDOWS})  # type: ignore[arg-type]

    assert torch.equal(again[OTHER], first[OTHER])


def test_other_weights_have_states_of_their_own(tmp_path: Path) -> None:
    """The file's name follows the model's digest."""
    one = states_path(tmp_path, {"model": "a"}, {OTHER: WINDOWS})

    assert one == states_path(tmp_path, {"model": "a"}, {OTHER: WINDOWS})
    assert one != states_path(tmp_path, {"model": "b"}, {OTHER: WINDOWS})
