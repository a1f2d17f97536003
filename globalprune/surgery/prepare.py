"""A model and a plan become steps; what does not fit is refused, what is unusual is warned of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from globalprune.artifacts.analyses.analysis import TextRecord, read_analysis_record
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.artifacts.plans.plan_summary import plan_warning
from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.artifacts.structure import ModelStructure
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.fingerprint import (
    FULL_PREFIX,
    stored_weights,
    weights_fingerprint,
)
from globalprune.models.checkpoints.gguf_header import quantisation_warnings
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.checkpoints.output_folder import list_auxiliary_files
from globalprune.models.configs.native_config import MODELING_FILE, traits_of
from globalprune.models.configs.pruned_config import EditedConfig, prune_config, with_dtype
from globalprune.models.meta_model import refuse_class_mismatch
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.surgery.history import History, read_history
from globalprune.surgery.steps import (
    CopyAuxiliaryFile,
    CopyModelingFile,
    FileStep,
    Step,
    WriteConfig,
    WriteTokenizer,
    compensated_steps,
    converted_steps,
    cutting_steps,
    promised_tensors,
)
from globalprune.surgery.weight_files import (
    SizePromise,
    WeightFiles,
    check_size,
    count_weight_files,
)


def repair_advice(plan: PrunePlan, *, compensating: bool) -> str | None:
    """What a cut by the plan would gain by, where it neither counts on a repair nor gets one."""
    counts_on_it = plan.analysis is not None and plan.analysis.assumes == "compensation"
    if compensating or counts_on_it or not plan.layers:
        return None
    return (
        "what stays is not repaired: --compensate --data SRC solves it anew on text, without "
        "training, and mostly wins back a good part of what the cut costs."
    )


def unmet_assumptions(plan: PrunePlan, *, compensating: bool) -> Iterator[str]:
    """Yield a warning for each; the plan is applied as it stands."""
    reference = plan.analysis
    if reference is None or reference.assumes is None:
        return
    if not compensating:
        yield (
            f"was made by {reference.importance}, which counts what is lost behind compensation, "
            "and none is asked for; gp apply it with --compensate --data SRC, or plan by another "
            "importance."
        )
    if plan.edited:
        yield (
            f"was edited, and {reference.importance} counts what is lost along its own order; its "
            "figures no longer hold for the groups that were exchanged."
        )


@dataclass(frozen=True)
class Prepared:
    """A model, a plan that fits it, and all that follows from the two."""

    checkpoint: Checkpoint
    adapter: ModelAdapter
    structure: ModelStructure
    weights: str  # fingerprint
    plan: PrunePlan
    plan_bytes: bytes  # as a person wrote them, to be kept beside the result
    plan_folder: Path  # what the plan's own paths are relative to
    effect: PlanEffect
    edit: EditedConfig
    steps: tuple[Step, ...]
    history: History
    files: WeightFiles
    promise: SizePromise
    warnings: tuple[str, ...]


def prepare(
    model: str,
    plan_path: Path,
    compensation: CompensationRequest | None = None,
    save_dtype: str | None = None,
) -> Prepared:
    """Open the model, check the plan against it, decide every step.

    Floating-point tensors are written as `save_dtype`, or each as it is stored.
    """
    checkpoint = open_checkpoint(resolve_model(model))
    adapter = adapter_for(checkpoint.config)
    structure = adapter.structure(checkpoint)
    plan = read_plan(plan_path, structure)
    refuse_class_mismatch(checkpoint)
    effect = effect_of(plan, structure)
    edit = with_dtype(prune_config(checkpoint.config, structure, effect), save_dtype)
    expected = plan.model.weights if plan.model else None
    weights = weights_fingerprint(checkpoint, full=(expected or "").startswith(FULL_PREFIX))
    history = read_history(checkpoint, structure, weights)
    traits = traits_of(checkpoint.config)
    steps = cutting_steps(checkpoint.tensors, adapter, structure, effect)
    if compensation is not None:
        gates = compensation.gate_steps > 0
        steps = compensated_steps(steps, adapter, structure, effect, gates=gates)
    unconverted = promised_tensors(steps)
    steps = converted_steps(steps, save_dtype)
    files = count_weight_files(checkpoint.tensors, promised_tensors(steps), save_dtype)
    promise = check_size(plan, plan_path, unconverted, files)
    storage = stored_weights(checkpoint, adapter, structure)
    return Prepared(
        checkpoint=checkpoint,
        adapter=adapter,
        structure=structure,
        weights=weights,
        plan=plan,
        plan_bytes=plan_path.read_bytes(),
        plan_folder=plan_path.resolve().parent,
        effect=effect,
        edit=edit,
        steps=(*steps, *_file_steps(checkpoint, effect, edit, save_dtype)),
        history=history,
        files=files,
        promise=promise,
        warnings=(
            *history.warnings,
            *quantisation_warnings(checkpoint.source),
            *_other_weights(plan, plan_path, checkpoint, weights),
            *(
                f"{plan_path}: {doubt}"
                for doubt in unmet_assumptions(plan, compensating=compensation is not None)
            ),
            *filter(None, [promise.warning]),
            *(
                f"{plan_path}: {wish}"
                for wish in violations(plan, effect, structure, traits, storage)
            ),
        ),
    )


def _file_steps(
    checkpoint: Checkpoint, effect: PlanEffect, edit: EditedConfig, save_dtype: str | None
) -> tuple[FileStep, ...]:
    """What is written beside the weights."""
    changed = effect.parameters_after != effect.parameters_before or save_dtype is not None
    steps: list[FileStep] = [WriteConfig(changed, edit.uneven, edit.reason)]
    if edit.uneven:
        steps.append(CopyModelingFile(f"{MODELING_FILE}.py"))
    if checkpoint.source.is_gguf:
        return (*steps, WriteTokenizer())
    auxiliary = list_auxiliary_files(checkpoint.auxiliary_folder)
    return (*steps, *(CopyAuxiliaryFile(name) for name in auxiliary))


def _other_weights(
    plan: PrunePlan, plan_path: Path, checkpoint: Checkpoint, weights: str
) -> tuple[str, ...]:
    """Warn where a plan is applied to a relative of the model that it was made for."""
    made_for = plan.model
    if made_for is None or made_for.weights is None or made_for.weights == weights:
        return ()
    warning = (
        f"{plan_path}: was made for {made_for.source} (weights {made_for.weights}); "
        f"{checkpoint.source.name} has the same structure but other weights ({weights}). "
        "The plan is applied as it stands."
    )
    return (warning,)


_ENOUGH: Final = 2  # tokens for each channel that stays of the widest MLP that is solved


def doubts_of(prepared: Prepared, record: Path | None, text: TextRecord | None) -> tuple[str, ...]:
    """All that is doubtful about a plan, its analysis and the text to compensate with."""
    short = () if text is None else _short(text, prepared.effect)
    analysis = None if record is None else read_analysis_record(record)
    tried = filter(None, [plan_warning(prepared.plan, analysis)])
    return (*tried, *prepared.warnings, *_unknown_text(prepared, record), *short)


def _unknown_text(prepared: Prepared, record: Path | None) -> Iterator[str]:
    """Warn where the plan's analysis is gone, and with it what text the model was measured on."""
    reference = prepared.plan.analysis
    if record is None and reference is not None:
        yield (
            f"the analysis that the plan names ({reference.path}, from where the plan lies) was "
            "not found, so gp eval can't warn of text that calibration saw; name it with "
            "--analysis."
        )


def _short(text: TextRecord, effect: PlanEffect) -> Iterator[str]:
    """Yield a warning where what is solved has hardly more unknowns than the text has tokens."""
    inputs = max(len(layer.mlp) for layer in effect.layers)
    if text.tokens <= _ENOUGH * inputs:
        yield (
            f"{text.tokens:,} tokens of text are few to solve {inputs:,} channels of an MLP anew, "
            f"so the repair may fit this text alone; give it more than {_ENOUGH * inputs:,} "
            "(--samples, --seq-len)."
        )
