"""A model without weights: built on the meta device, and compared with a checkpoint.

The names and shapes that its class expects must be those of the checkpoint. Latencies are measured
on such a model, filled with random numbers.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from globalprune.artifacts.formatting import first_few
from globalprune.errors import CheckpointError, ModelError, library_errors
from globalprune.models import modeling_globalprune
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.configs.class_config import class_config
from globalprune.models.configs.native_config import RawConfig, is_uneven, pruned_class
from globalprune.models.quiet import quiet_transformers

_ALIGNMENT: Final = 256  # elements: tensors begin at multiples of it, as an allocator places them
_DRAWN: Final = 2**20  # random numbers, which are repeated: drawing billions takes minutes
_SCALE: Final = 0.1  # of these: neither denormal, nor so large that float16 overflows
_SHOWN: Final = 5  # tensors in an error


def empty_model(config: RawConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build the class that a raw config.json asks for, without memory, in eval mode.

    Uneven layers are built by this package's own class. Raise `ModelError` for a config that no
    class accepts.
    """
    with torch.device("meta"):
        return new_model(config, dtype)


def new_model(
    config: RawConfig, dtype: torch.dtype = torch.float32, *, attention: str | None = None
) -> PreTrainedModel:
    """Build the same with its initial weights; `attention` names a kernel of transformers."""
    own = class_config(config)
    where = "config.json: no model can be built from it"
    settings = {"dtype": dtype} | ({} if attention is None else {"attn_implementation": attention})
    with quiet_transformers(), library_errors(CheckpointError, where, "mend it."):
        model_class: Any = AutoModelForCausalLM
        if is_uneven(config):
            model_class = getattr(modeling_globalprune, pruned_class(config))
            model: PreTrainedModel = model_class._from_config(own, **settings)  # noqa: SLF001
        else:
            model = model_class.from_config(own, trust_remote_code=False, **settings)
    model.eval()
    return model


def storage_elements(model: nn.Module) -> int:
    """Return how many elements a storage needs to hold the model, tied tensors once."""
    return sum(map(_aligned_size, _tensors(model)))


def random_storage(elements: int, dtype: torch.dtype, device: str) -> torch.Tensor:
    """Return at least so many numbers of the size of weights, `[N]`; equal in every run."""
    drawn = _SCALE * torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0))
    return drawn.to(device, dtype).repeat(-(-elements // _DRAWN))


def place_in_storage(storage: torch.Tensor, model: nn.Module) -> None:
    """Make the model's tensors consecutive parts of `storage`; tied ones stay tied.

    A buffer of another dtype, such as rotary frequencies, is a copy of its part.
    """
    tensors = _tensors(model)
    placed, start = {}, 0
    for tensor in tensors:
        part = storage[start : start + tensor.numel()].view(tensor.shape).to(tensor.dtype)
        is_parameter = isinstance(tensor, nn.Parameter)
        placed[id(tensor)] = nn.Parameter(part, requires_grad=False) if is_parameter else part
        start += _aligned_size(tensor)
    for module in model.modules():
        own = *module.named_parameters(recurse=False), *module.named_buffers(recurse=False)
        for name, tensor in own:
            setattr(module, name, placed[id(tensor)])


def refuse_class_mismatch(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` unless the model class and the checkpoint have the same tensors."""
    if checkpoint.source.is_gguf:
        return
    differences = list(class_differences(checkpoint.config, checkpoint.tensors))
    if differences:
        shown = "".join(f"\n  {difference}" for difference in differences[:_SHOWN])
        more = f"\n  … and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise CheckpointError(
            f"{checkpoint.source.name}: config.json and the weights don't belong together; fetch "
            f"or save the model again.{shown}{more}"
        )


def refuse_shape_mismatch(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Raise `CheckpointError` if a tensor has another shape than the model's of the same name.

    `model` may be on the meta device. Names are not compared: in other families they vary.
    """
    wrong = [
        f"{name} is {_format_shape(info.shape)}, should be {list(expected.shape)}"
        for name, expected in model.state_dict().items()
        if (info := checkpoint.tensors.get(name)) and info.shape != tuple(expected.shape)
    ]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.source.name}: {len(wrong)} tensors are of another shape: "
            f"{first_few(wrong)}; config.json and the weights don't belong together: "
            "fetch or write them again."
        )


def class_differences(config: dict[str, Any], tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Yield every difference between the model class and a checkpoint's tensors.

    Yield why there is no model where the config makes none.
    """
    try:
        model = empty_model(config)
    except ModelError as error:
        yield str(error)
        return
    tied = set(model.all_tied_weights_keys)  # the checkpoint has one of each pair
    stored = revert_weight_conversion(model, model.state_dict())  # files have single experts
    expected = {name: tuple(value.shape) for name, value in stored.items()}
    stored_shapes = {name: tuple(info.shape) for name, info in tensors.items()}
    for name in sorted((expected.keys() | stored_shapes.keys()) - tied):
        if expected.get(name) != stored_shapes.get(name):
            yield (
                f"{name}: the model class wants {_format_shape(expected.get(name))}, "
                f"the file has {_format_shape(stored_shapes.get(name))}"
            )


def _format_shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    """Return every parameter and buffer once."""
    return [*model.parameters(), *model.buffers()]


def _aligned_size(tensor: torch.Tensor) -> int:
    """Return the elements of a storage from a tensor's start to the next one's."""
    return -(-tensor.numel() // _ALIGNMENT) * _ALIGNMENT
