"""Prepares a cut: a model and a plan become the steps of surgery, and warnings.

The warnings are about the plan, its analysis and the text of compensation; none stops the cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pyarrow as pa

from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    read_analysis_record,
)
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_compliance import violations
from globalprune.artifacts.plans.plan_effect import PlanEffect, effect_of
from globalprune.artifacts.plans.plan_file import PlanFile
from globalprune.artifacts.plans.plan_summary import plan_warning
from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import ArtifactError, UsageError
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.checkpoint import Checkpoint
from globalprune.models.checkpoints.gguf_header import quantisation_warnings
from globalprune.models.checkpoints.identity import FULL_PREFIX
from globalprune.models.checkpoints.output_folder import list_auxiliary_files
from globalprune.models.checkpoints.shard_writer import stored_weights
from globalprune.models.configs.native_config import MODELING_FILE, traits_of
from globalprune.models.configs.pruned_config import EditedConfig, prune_config, with_dtype
from globalprune.models.meta_model import refuse_class_mismatch
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import ApplyOptions
from globalprune.surgery.records import History, origin_map, read_history
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

_TOKENS_PER_CHANNEL: Final = 2  # of the widest MLP after the cut: fewer tokens are warned of


@dataclass(frozen=True)
class PreparedCut:
    """A model, a plan that fits it, and everything that follows from the two and the options."""

    model: PreparedModel
    options: ApplyOptions
    weights: str  # the model's fingerprint, of the kind that the plan names
    file: PlanFile
    effect: PlanEffect
    edit: EditedConfig
    steps: tuple[Step, ...]
    history: History
    files: WeightFiles
    promise: SizePromise
    warnings: tuple[str, ...]

    @property
    def plan(self) -> PrunePlan:
        """The plan in the file."""
        return self.file.plan

    @property
    def checkpoint(self) -> Checkpoint:
        """The model on disk."""
        return self.model.checkpoint

    @property
    def adapter(self) -> ModelAdapter:
        """The adapter of the model's family."""
        return self.model.adapter

    @property
    def structure(self) -> ModelStructure:
        """The groups of the model."""
        return self.model.structure

    @cached_property
    def analysis(self) -> Path | None:
        """The analysis.json that the plan was made from, if it is found."""
        return find_analysis_file(self.file, self.options.analysis)

    @cached_property
    def origin(self) -> pa.Table:
        """The map from every group of the result to the first model's groups."""
        structure = self.structure.fingerprint
        own = origin_map(self.effect, structure=structure, weights=self.weights)
        return self.history.map_to_first(own)


def prepare_cut(
    model: PreparedModel, file: PlanFile, options: ApplyOptions = ApplyOptions()
) -> PreparedCut:
    """Decide every step of cutting the model by a plan that was read for its structure.

    Raise `CheckpointError` for a model that can't be cut.
    """
    save_dtype = options.save_dtype
    checkpoint, adapter, structure = model.checkpoint, model.adapter, model.structure
    plan, plan_path = file.plan, file.path
    refuse_class_mismatch(checkpoint)
    effect = effect_of(plan, structure)
    edit = with_dtype(prune_config(checkpoint.config, structure, effect), save_dtype)
    expected = plan.model.weights if plan.model else None
    weights = model.weights(full=(expected or "").startswith(FULL_PREFIX))
    history = read_history(checkpoint, structure, weights)
    traits = traits_of(checkpoint.config)
    steps = cutting_steps(checkpoint.tensors, adapter, structure, effect)
    if options.compensation is not None:
        gates = options.compensation.gate_steps > 0
        steps = compensated_steps(steps, adapter, structure, effect, gates=gates)
    unconverted = promised_tensors(steps)
    steps = converted_steps(steps, save_dtype)
    files = count_weight_files(checkpoint.tensors, promised_tensors(steps), save_dtype)
    promise = check_size(plan, plan_path, unconverted, files)
    storage = stored_weights(checkpoint, adapter, structure)
    return PreparedCut(
        model=model,
        options=options,
        weights=weights,
        file=file,
        effect=effect,
        edit=edit,
        steps=(*steps, *_file_steps(checkpoint, effect, edit, save_dtype)),
        history=history,
        files=files,
        promise=promise,
        warnings=(
            *history.warnings,
            *quantisation_warnings(checkpoint.source),
            *filter(None, [relative_warning(plan, plan_path, checkpoint.source.name, weights)]),
            *(
                f"{plan_path}: {warning}"
                for warning in assumption_warnings(
                    plan, compensating=options.compensation is not None
                )
            ),
            *filter(None, [promise.warning]),
            *(
                f"{plan_path}: {violation}"
                for violation in violations(plan, effect, structure, traits, storage)
            ),
        ),
    )


def find_analysis_file(file: PlanFile, named: Path | None) -> Path | None:
    """Find the plan's analysis.json: the named file or folder, else by the plan's own path.

    Return None where the plan's own path leads to no such analysis. Raise `UsageError` where
    another analysis is named.
    """
    reference = file.plan.analysis
    if named is not None:
        path = named / ANALYSIS_FILE if named.is_dir() else named
        table = read_analysis_record(path).table
        if reference is not None and table != reference.table:
            raise UsageError(
                f"{path}: describes table {table}, but the plan was made from {reference.table}; "
                "name the plan's own analysis, or leave --analysis out."
            )
        return path
    if reference is None:
        return None
    path = file.folder / reference.path / ANALYSIS_FILE
    try:
        return path if read_analysis_record(path).table == reference.table else None
    except (ArtifactError, OSError):
        return None


def cut_warnings(prepared: PreparedCut, text: TextRecord | None) -> tuple[str, ...]:
    """Every warning about a cut; `text` is what it is compensated on, if it is."""
    path = prepared.analysis
    analysis = None if path is None else read_analysis_record(path)
    return (
        *filter(None, [plan_warning(prepared.plan, analysis)]),
        *prepared.warnings,
        *_missing_analysis(prepared.plan, path),
        *(() if text is None else _short_text(text, prepared.effect)),
    )


def compensation_advice(plan: PrunePlan, *, compensating: bool) -> str | None:
    """Advise compensation, where a plan neither assumes it nor gets it."""
    assumed = plan.analysis is not None and plan.analysis.assumes == "compensation"
    if compensating or assumed or not plan.layers:
        return None
    return (
        "the weights that stay are not compensated: --compensate --data SRC recomputes them on "
        "text, without training, and mostly wins back a good part of what the cut costs."
    )


def assumption_warnings(plan: PrunePlan, *, compensating: bool) -> Iterator[str]:
    """Yield a warning for every assumption of the plan's importance that does not hold."""
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


def relative_warning(plan: PrunePlan, plan_path: Path, model: str, weights: str) -> str | None:
    """Warn where a plan is applied to a relative of the model that it was made for.

    `weights` is the fingerprint of `model`.
    """
    made_for = plan.model
    if made_for is None or made_for.weights is None or made_for.weights == weights:
        return None
    return (
        f"{plan_path}: was made for {made_for.source} (weights {made_for.weights}); "
        f"{model} has the same structure but other weights ({weights}). "
        "The plan is applied as it stands."
    )


def _file_steps(
    checkpoint: Checkpoint, effect: PlanEffect, edit: EditedConfig, save_dtype: str | None
) -> tuple[FileStep, ...]:
    """The steps of the files beside the weights."""
    changed = effect.parameters_after != effect.parameters_before or save_dtype is not None
    steps: list[FileStep] = [WriteConfig(changed, edit.uneven, edit.reason)]
    if edit.uneven:
        steps.append(CopyModelingFile(f"{MODELING_FILE}.py"))
    if checkpoint.source.is_gguf:
        return (*steps, WriteTokenizer())
    auxiliary = list_auxiliary_files(checkpoint.auxiliary_folder)
    return (*steps, *(CopyAuxiliaryFile(name) for name in auxiliary))


def _missing_analysis(plan: PrunePlan, found: Path | None) -> Iterator[str]:
    """Warn where the plan's analysis is gone, and with it the record of the calibration text."""
    if found is None and plan.analysis is not None:
        yield (
            f"the analysis that the plan names ({plan.analysis.path}, from where the plan lies) "
            "was not found, so gp eval can't warn of text that calibration saw; name it with "
            "--analysis."
        )


def _short_text(text: TextRecord, effect: PlanEffect) -> Iterator[str]:
    """Warn where compensation has hardly more tokens than unknowns."""
    inputs = max(len(layer.mlp) for layer in effect.layers)
    if text.tokens <= _TOKENS_PER_CHANNEL * inputs:
        yield (
            f"{text.tokens:,} tokens of text are few to compensate {inputs:,} channels of an MLP "
            "with, so the weights may fit this text alone; give more than "
            f"{_TOKENS_PER_CHANNEL * inputs:,} (--samples, --seq-len)."
        )
