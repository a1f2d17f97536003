"""Whether a folder's tensors are those of the class that its config asks for; no weight is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from globalprune.errors import CheckpointError, ModelError
from globalprune.models.checkpoints.checkpoint import Checkpoint, TensorInfo
from globalprune.models.empty_model import empty_model

_SHOWN = 5  # tensors named in an error


def refuse_misfit(checkpoint: Checkpoint) -> None:
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


def refuse_other_shapes(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
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
