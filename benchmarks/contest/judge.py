"""One judgement for all: a model's loss, and its distance from the dense model's answers."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from contest.dense_states import States
from contest.part import Judged
from contest.texts import STRIDED
from globalprune.evaluation.perplexity import perplexity
from globalprune.text.windows import TokenWindows

CHUNK: Final = 128  # positions whose log-softmax is taken at once


def judge(
    model: PreTrainedModel,
    texts: Mapping[str, TokenWindows],
    head: nn.Module,
    states: States | None,
) -> dict[str, Judged]:
    """Judge by every text; without states (the dense model itself) by its loss alone.

    The strided windows are `gp eval`'s, and are judged by its own code.
    """
    model.eval()
    found = {}
    for name, windows in texts.items():
        if name == STRIDED or states is None:
            found[name] = _by_loss(model, windows)
        else:
            found[name] = compare(model, windows, head, states[name])
    return found


def _by_loss(model: PreTrainedModel, windows: TokenWindows) -> Judged:
    """The library's perplexity, without a comparison."""
    result = perplexity(model, windows)
    return Judged(
        nll=result.window_nll,
        tokens=result.window_tokens,
        divergence=None,
        windows=windows.record.digest,
    )


@torch.inference_mode()
def compare(
    model: PreTrainedModel, windows: TokenWindows, head: nn.Module, states: torch.Tensor
) -> Judged:
    """Σ nll and Σ KL(dense || pruned) over each window's predicting positions, in one pass."""
    pairs = [
        _compare_window(model, row.to(model.device), head, dense.to(model.device))
        for row, dense in zip(windows.rows, states, strict=True)
    ]
    nll, divergence = zip(*pairs, strict=True)
    return Judged(
        nll=nll,
        tokens=tuple(len(row) - 1 for row in windows.rows),
        divergence=divergence,
        windows=windows.record.digest,
    )


def _compare_window(
    model: PreTrainedModel, ids: torch.Tensor, head: nn.Module, dense: torch.Tensor
) -> tuple[float, float]:
    """One window `[T]` against the dense model's last hidden states `[T, D]`."""
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    nll, divergence = 0.0, 0.0
    for start in range(0, len(logits), CHUNK):
        chosen = slice(start, start + CHUNK)
        ours = functional.log_softmax(logits[chosen].float(), dim=-1)
        theirs = functional.log_softmax(head(dense[:-1][chosen]).float(), dim=-1)
        nll += float(functional.nll_loss(ours, ids[1:][chosen], reduction="sum"))
        divergence += float(functional.kl_div(ours, theirs, reduction="sum", log_target=True))
    return nll, divergence
