"""The dense model's last hidden states of the judging texts, computed once and kept in a file.

Its logits are a product with the head away, so that no item has to run the dense model again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from globalprune.artifacts.disk import temporary_file
from globalprune.artifacts.records import digest_json
from globalprune.text.windows import TokenWindows

States = dict[str, torch.Tensor]  # [windows, T, D] of each text


def states_path(work: Path, inputs: Mapping[str, str], texts: Mapping[str, TokenWindows]) -> Path:
    """Where they lie; other weights or other windows lie elsewhere."""
    facts = {name: windows.record.digest for name, windows in texts.items()}
    digest = digest_json([inputs["model"], facts, torch.__version__])
    return work / f"dense-{digest.partition(':')[2][:16]}.safetensors"


def dense_states(
    path: Path, load: Callable[[], PreTrainedModel], texts: Mapping[str, TokenWindows]
) -> States:
    """Read the states, or compute and keep them."""
    if not path.is_file():
        model = load()
        found = {name: _states(model, windows) for name, windows in texts.items()}
        with temporary_file(path) as temporary:
            save_file(found, temporary)
    return load_file(path)


@torch.inference_mode()
def _states(model: PreTrainedModel, windows: TokenWindows) -> torch.Tensor:
    """One window at a time, so that memory holds one window's activations."""
    base, device = model.base_model, model.device
    rows = [
        base(input_ids=row[None].to(device), use_cache=False).last_hidden_state.cpu()
        for row in windows.rows
    ]
    return torch.cat(rows)
