"""Whether a folder's tensors are those of the class that its config asks for; no weight is read."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from globalprune.models import modeling_globalprune
from globalprune.models.checkpoint import TensorInfo
from globalprune.models.quiet_transformers import quiet_transformers
from globalprune.models.refusals import REFUSALS
from globalprune.models.uneven_config import is_uneven, pruned_class


def class_differences(folder: Path, tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield every tensor that the class and the file don't agree on, or why there is no class."""
    try:
        model = _empty_model(folder)
    except REFUSALS as error:
        first = str(error.__cause__ or error).strip().partition("\n")[0]
        yield f"config.json: no model can be built from it ({type(error).__name__}: {first})"
        return
    tied = set(model.all_tied_weights_keys)  # stored only where their values differ after all
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(info.shape) for name, info in tensors.items()}
    for name in sorted((expected.keys() | found.keys()) - tied):
        if expected.get(name) != found.get(name):
            yield (
                f"{name}: the model class wants {_listed(expected.get(name))}, "
                f"the file has {_listed(found.get(name))}"
            )


def _empty_model(folder: Path) -> PreTrainedModel:
    """Build the class that the folder's config asks for, without memory for its weights."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with quiet_transformers(), torch.device("meta"):
        if is_uneven(raw):
            made = getattr(modeling_globalprune, pruned_class(raw))
            model: PreTrainedModel = made(made.config_class.from_pretrained(folder))
            return model
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        native: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        return native


def _listed(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
