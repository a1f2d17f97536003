"""`--explain`: the steps of surgery as text, layer by layer, and as a JSON document. No torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from globalprune.artifacts.plans.plan_effect import LayerEffect
from globalprune.artifacts.structure import GROUP_TYPES, LayerStructure
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.surgery.steps import (
    CompensatedFinalNorm,
    CompensatedTensor,
    ConvertTensor,
    CopyAuxiliaryFile,
    CopyModelingFile,
    DropLayer,
    DropTensor,
    EmptySublayer,
    FileStep,
    KeepTensor,
    LayerStep,
    RenumberLayer,
    SliceTensor,
    Step,
    WriteConfig,
    WriteTokenizer,
    promised_tensors,
)

if TYPE_CHECKING:
    from globalprune.surgery.prepare import PreparedCut

_GROUP_NAMES: Final = {"attention": "groups", "mlp": "channels"}
_DOCUMENT_NAMES: Final[dict[type[Step], str]] = {  # where the JSON document has an older name
    CompensatedTensor: "SolveTensor",
    CompensatedFinalNorm: "RefitTensor",
    EmptySublayer: "EmptyHalf",
    CopyAuxiliaryFile: "CopyCompanion",
}


@dataclass(frozen=True)
class Explanation:
    """What applying would do: as text, and as a JSON document, which holds the warnings too."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    document: dict[str, Any]


def explain_cut(prepared: "PreparedCut") -> Explanation:
    """Describe what cutting would do; nothing is written."""
    steps, effect, weights = prepared.steps, prepared.effect, prepared.files
    structure, model = prepared.structure, prepared.model.name
    written = promised_tensors(steps)
    before, after = effect.parameters_before, sum(info.parameters for info in written.values())
    lines = [
        f"{model}: {before:,} → {after:,} parameters ({(before - after) / before:.2%} cut)",
        weights.text,
    ]
    cutting = [step for step in steps if not isinstance(step, FileStep)]
    changes = [
        line
        for layer in effect.layers
        for line in _layer_lines(
            [step for step in cutting if step.layer == layer.layer_idx],
            structure.layers[layer.layer_idx],
            layer,
        )
    ]
    lines += changes or ["no layer changes"]
    lines += [
        f"{step.name} is compensated" for step in steps if isinstance(step, CompensatedFinalNorm)
    ]
    kept = sum(isinstance(step, KeepTensor) for step in steps)
    lines.append(f"{kept} of {len(written)} written tensors are copied bit for bit")
    if weights.save_dtype is not None:
        converted = sum(isinstance(step, ConvertTensor) for step in steps)
        lines.append(f"{converted} are copied whole and converted to {weights.save_dtype}")
    lines += [_file_line(step) for step in steps if isinstance(step, FileStep)]
    document = {
        "model": model,
        "parameters_before": before,
        "parameters_after": after,
        **asdict(weights),
        "warnings": list(prepared.warnings),
        "steps": [step_document(step) for step in steps],
    }
    return Explanation(tuple(lines), prepared.warnings, document)


def step_document(step: Step) -> dict[str, Any]:
    """A step as the JSON document has it; slices are half-open ranges."""
    fields = asdict(step)
    if isinstance(step, SliceTensor):
        fields["kept"] = tuple((first, last + 1) for first, last in step.kept.ranges)
    return {"step": document_name(type(step)), **fields}


def document_name(kind: type[Step]) -> str:
    """Return what the JSON document calls a kind of step; it never changes."""
    return _DOCUMENT_NAMES.get(kind, kind.__name__)


def _layer_lines(
    steps: Sequence[LayerStep], before: LayerStructure, layer: LayerEffect
) -> list[str]:
    """Describe what changes in one layer; no line where nothing does."""
    heads, sliced, compensated, dropped = _widths(before, layer), [], [], []
    for step in steps:
        match step:
            case KeepTensor() | ConvertTensor() | CompensatedFinalNorm():  # counted at the end
                continue
            case SliceTensor():
                sliced.append(f"{_short(step.name)} {_shape(step.facts)}")
            case CompensatedTensor():
                compensated.append(f"{_short(step.name)} {_shape(step.facts)}")
            case DropTensor():
                dropped.append(_short(step.name))
            case EmptySublayer():
                stays = f" but {_short(step.keeps)}" if step.keeps else ""
                heads.append(f"{step.group_type} goes whole{stays}")
            case DropLayer():
                heads.append("the whole layer goes")
            case RenumberLayer():
                heads.append(f"becomes layer {step.becomes}")
            case _:
                assert_never(step)
    if compensated and not heads:
        heads.append("keeps its widths")
    lines = [f"layer {layer.layer_idx}: {', '.join(heads)}"] if heads else []
    lines += [f"    cut to      {', '.join(sliced)}"] if sliced else []
    lines += [f"    compensate  {', '.join(compensated)}"] if compensated else []
    return [*lines, f"    drop        {', '.join(dropped)}"] if dropped else lines


def _file_line(step: FileStep) -> str:
    """Describe how one file beside the weights is made."""
    match step:
        case WriteConfig(changed=False):
            return "config.json stays as it was"
        case WriteConfig(uneven=False):
            return "config.json gets new sizes, the same for every layer"
        case WriteConfig():
            reason = f": {step.reason}" if step.reason else ""
            return f"config.json gets the sizes of every layer{reason}"
        case CopyModelingFile():
            return f"{step.name} goes along, for transformers to build such layers"
        case CopyAuxiliaryFile():
            return f"{step.name} is copied"
        case WriteTokenizer():
            return "the tokenizer that the GGUF file carries is written"
        case _:
            assert_never(step)


def _widths(before: LayerStructure, layer: LayerEffect) -> list[str]:
    """The number of groups of a kept layer before and after, where they differ."""
    if layer.dropped:
        return []
    return [
        f"{kind} {before.sublayer(kind).groups:,} → {len(layer.of(kind)):,} {_GROUP_NAMES[kind]}"
        for kind in GROUP_TYPES
        if len(layer.of(kind)) != before.sublayer(kind).groups
    ]


def _short(name: str) -> str:
    """A tensor's name without the path of its layer and sublayer."""
    return ".".join(name.split(".")[-2:])


def _shape(info: TensorInfo) -> str:
    return "×".join(str(size) for size in info.shape)
