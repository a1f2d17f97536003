"""The model that a config.json asks for, built without its weights and without reading them.

It takes no memory until it is laid into a block of numbers. Any number of models may lie in one
block at once: what they compute means nothing, how long they take does.
"""

from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from globalprune.errors import CheckpointError, library_errors
from globalprune.models import modeling_globalprune
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.uneven_config import RawConfig, is_uneven, pruned_class
from globalprune.models.quiet_transformers import quiet_transformers

_ALIGNED: Final = 256  # numbers: where tensors begin, as an allocator would have it
_DRAWN: Final = 2**20  # numbers that are drawn, and then repeated: drawing billions takes minutes
_SCALE: Final = 0.1  # large enough for no denormal, small enough for no overflow in float16


def empty_model(config: RawConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build the class that a raw config.json asks for, on no memory, in eval mode.

    Uneven layers are built by this package's own class. Raise `ModelError` for a config that makes
    no sense.
    """
    own = class_config(config)
    where = "config.json: no model can be built from it"
    with (
        quiet_transformers(),
        library_errors(CheckpointError, where, "mend it."),
        torch.device("meta"),
    ):
        made: Any = AutoModelForCausalLM
        if is_uneven(config):
            made = getattr(modeling_globalprune, pruned_class(config))
            model: PreTrainedModel = made._from_config(own, dtype=dtype)  # noqa: SLF001
        else:
            model = made.from_config(own, trust_remote_code=False, dtype=dtype)
    model.eval()
    return model


def numbers_in(model: nn.Module) -> int:
    """How many numbers a block needs to hold the model, tied tensors once."""
    return sum(map(_room, _tensors(model)))


def random_block(numbers: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Numbers of weights' size, at least so many, `[N]`; the same ones in every run."""
    drawn = _SCALE * torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0))
    return drawn.to(device, dtype).repeat(-(-numbers // _DRAWN))


def lay_into(block: torch.Tensor, model: nn.Module) -> None:
    """Let the model's tensors be parts of `block`, one behind the other; tied ones stay tied.

    A buffer of another dtype, such as rotary frequencies, is a copy of its part.
    """
    tensors = _tensors(model)
    placed, start = {}, 0
    for tensor in tensors:
        part = block[start : start + tensor.numel()].view(tensor.shape).to(tensor.dtype)
        is_parameter = isinstance(tensor, nn.Parameter)
        placed[id(tensor)] = nn.Parameter(part, requires_grad=False) if is_parameter else part
        start += _room(tensor)
    for module in model.modules():
        own = *module.named_parameters(recurse=False), *module.named_buffers(recurse=False)
        for name, tensor in own:
            setattr(module, name, placed[id(tensor)])


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    """Every parameter and buffer once."""
    return [*model.parameters(), *model.buffers()]


def _room(tensor: torch.Tensor) -> int:
    """What a tensor takes of a block, up to where the next one may begin."""
    return -(-tensor.numel() // _ALIGNED) * _ALIGNED
