"""The model class without weights: built on the meta device, and compared with a checkpoint.

The names and shapes that the class expects must be those of the checkpoint. A random model of the
same shapes is used to measure latencies.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from globalprune.errors import CheckpointError, ModelError, library_errors
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.native_config import RawConfig, is_uneven, pruned_class
from globalprune.models.quiet import quiet_transformers

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


def storage_elements(model: nn.Module) -> int:
    """How many numbers a block needs to hold the model, tied tensors once."""
    return sum(map(_room, _tensors(model)))


def random_storage(numbers: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Numbers of weights' size, at least so many, `[N]`; the same ones in every run."""
    drawn = _SCALE * torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0))
    return drawn.to(device, dtype).repeat(-(-numbers // _DRAWN))


def place_in_storage(block: torch.Tensor, model: nn.Module) -> None:
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


_SHOWN = 5  # tensors named in an error


def refuse_class_mismatch(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` for a model of our families that can't be loaded as it stands."""
    if checkpoint.source.is_gguf:
        return
    found = list(class_differences(checkpoint.config, checkpoint.tensors))
    if found:
        shown = "".join(f"\n  {difference}" for difference in found[:_SHOWN])
        more = f"\n  … and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise CheckpointError(
            f"{checkpoint.source.name}: config.json and the weights don't belong together; fetch "
            f"or save the model again.{shown}{more}"
        )


def refuse_shape_mismatch(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Raise `CheckpointError` if a tensor has another shape than a model's of that name.

    `model` may lie on no memory. Names are not compared: those of other families have many forms.
    """
    odd = [
        f"{name} is {_listed(info.shape)}, should be {list(expected.shape)}"
        for name, expected in model.state_dict().items()
        if (info := checkpoint.tensors.get(name)) and info.shape != tuple(expected.shape)
    ]
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        raise CheckpointError(
            f"{checkpoint.source.name}: {len(odd)} tensors are of another shape: "
            f"{', '.join(odd[:_SHOWN])}{more}; config.json and the weights don't belong together: "
            "fetch or write them again."
        )


def class_differences(config: dict[str, Any], tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield every tensor that the class and the file don't agree on, or why there is no class."""
    try:
        model = empty_model(config)
    except ModelError as error:
        yield str(error)
        return
    tied = set(model.all_tied_weights_keys)  # of which the checkpoint knows one
    stored = revert_weight_conversion(model, model.state_dict())  # experts lie apart in files
    expected = {name: tuple(value.shape) for name, value in stored.items()}
    found = {name: tuple(info.shape) for name, info in tensors.items()}
    for name in sorted((expected.keys() | found.keys()) - tied):
        if expected.get(name) != found.get(name):
            yield (
                f"{name}: the model class wants {_listed(expected.get(name))}, "
                f"the file has {_listed(found.get(name))}"
            )


def _listed(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
