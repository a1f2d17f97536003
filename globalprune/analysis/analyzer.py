"""Measures a model on a text: one pass, one table, one record. Nothing is cut.

Whatever can be refused is refused before the weights are loaded, and nothing is written before
everything is known. While the model is loaded, cuts of it are tried as masks; the caller chooses
them, for this phase plans nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from globalprune.analysis.measure import Measured, Measuring, measure
from globalprune.analysis.output import AnalysisFacts, RunLog, write_analysis
from globalprune.analysis.prior_plan import PriorPlan, apply_prior_plan, read_prior_plan
from globalprune.analysis.request import (
    Subject,
    chosen_normalisers,
    label_draw,
    model_record,
    refuse_ordering_experts,
    refuse_single_window,
    subject_of,
)
from globalprune.artifacts.analyses.analysis import Analysis, AnalysisRecord
from globalprune.artifacts.analyses.reliability import Trial, TrialCut, trial_of, window_count
from globalprune.artifacts.disk import refuse_inside_model, refuse_occupied
from globalprune.artifacts.own_files import ANALYSIS_MARKERS
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.results.cut import check_gate_steps
from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.structure import RemovedGroups
from globalprune.artifacts.writer_lock import holds_writer_lock
from globalprune.compensation.compensate import validation_every
from globalprune.compensation.sublayer_weights import CompensatedWeights
from globalprune.importance import Importance, importances_named
from globalprune.models.loading import load_model, unfuse_experts
from globalprune.models.placement import Placement, choose_float64_placement, peak_memory
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import AnalyzeOptions
from globalprune.progress import SILENT, Progress, Reporter, silent
from globalprune.statistics.hooks import find_sites, frozen
from globalprune.statistics.loss import LabelDraw, window_losses
from globalprune.statistics.masking import masked
from globalprune.text.calibration import SAMPLES, CalibrationText, calibration_text
from globalprune.text.windows import TokenWindows, check_counts

Candidates = Callable[[Analysis, RemovedGroups], Sequence[TrialCut]]
"""Chooses the cuts to try, by the analysis and the groups that a prior plan removes."""
_NOTHING_LEFT: Final = "no earlier run left anything to resume"


@holds_writer_lock("out")
def analyze_model(
    model: PreparedModel,
    out: Path,
    options: AnalyzeOptions,
    *,
    text: CalibrationText | None = None,
    candidates: Candidates | None = None,
    reporter: Reporter = SILENT,
) -> AnalysisRecord:
    """Measure every group of the layers by every importance, and write the analysis into `out`.

    Behind a prior plan, measure what it leaves; the groups that it removes are worth nothing then.
    `text` is what `read_text` returns for the same model and options, if it is read already.
    `candidates` chooses the cuts that a trial masks at the end; None means no trial. The work so
    far is in `out`.unfinished, and `options.resume` continues it.
    """
    log = RunLog(reporter.command)
    methods = importances_named(options.importances)
    normalisers = chosen_normalisers(methods, options.normaliser)
    _refuse_numbers(options)
    refuse_occupied(out, ours=ANALYSIS_MARKERS, overwrite=options.overwrite)
    work = RunFolder.beside(out)
    work.refuse_unfinished(resume=options.resume, overwrite=options.overwrite)
    placement = choose_float64_placement(options.device, options.dtype)
    draw = label_draw(options.labels, options.seed)
    with log.phase("read the model's structure"):
        subject = subject_of(model, options.layers)
        refuse_ordering_experts(methods, subject.structure)
        refuse_inside_model(out, subject.source.path)
        prior = _prior_plan(options, subject)
    with log.phase("cut the text into windows"):
        if text is None:
            text = read_text(
                model, options, trying=candidates is not None, progress=reporter.progress
            )
        refuse_single_window(methods, text.windows)
        if options.compensate:
            validation_every(text.windows)
    with log.phase("compute the weights' fingerprint"):
        described = model_record(model)
        model.release_weights()  # a GGUF file's are about to be loaded again
    job = _Job(model, subject, methods, text, prior, placement, draw, _batch_size(options, subject))
    with log.phase("compute the model's digests"):
        identity = job.identity(options, reporter.progress)
    _begin(work, identity, log, resume=options.resume)
    with work.removed_if_empty():
        loaded, measured = _measured(job, options, work, log, reporter.progress)
        model.refuse_changed()
        if measured.save_failure is not None:
            log.say(f"the pass could not be saved to be resumed: {measured.save_failure}")
        facts = AnalysisFacts(
            model=described,
            given=None if prior is None else prior.record,
            normalisers=normalisers,
            labels=options.labels,
            label_seed=job.label_seed,
            batch_size=job.batch_size,
            dtype=str(loaded.dtype).removeprefix("torch."),
            command=reporter.command,
            peak_memory_bytes=peak_memory(placement.device),
        )
        trial = PlanTrial(loaded, subject, text, prior, reporter.progress, candidates)
        record = write_analysis(
            out, subject, text.windows, methods, measured, log, facts, trial.run
        )
    work.remove()
    return record


def read_text(
    model: PreparedModel, options: AnalyzeOptions, *, trying: bool, progress: Progress = silent
) -> CalibrationText:
    """Read the text and cut it into windows, and into others for a trial where there is one.

    Raise `TextError` for a text that is too short, `UsageError` for numbers out of range.
    """
    return calibration_text(
        options.data,
        model.load_tokenizer,
        vocab_size=model.vocab_size,
        samples=options.samples,
        seq_len=options.seq_len,
        seed=options.seed,
        progress=progress,
        max_unused=window_count(options.samples or SAMPLES) if trying else 0,
    )


@dataclass(frozen=True)
class PlanTrial:
    """A loaded model, the text that it is measured on, and what chooses the cuts to try."""

    loaded: Any
    subject: Subject
    text: CalibrationText
    given: PriorPlan | None
    progress: Progress
    candidates: Candidates | None

    def run(self, analysis: Analysis) -> Trial | None:
        """Mask every cut on a few windows; return None if there is nothing to try."""
        if self.candidates is None:
            return None
        tried = self.candidates(analysis, {} if self.given is None else self.given.groups)
        if not tried:
            return None
        windows = self._windows()
        removals: list[RemovedGroups] = [{}, *(one.groups for one in tried)]
        dense, *others = self._losses(windows, removals)
        structure = self.subject.structure
        return trial_of(
            tried,
            {one.name: losses for one, losses in zip(tried, others, strict=True)},
            dense,
            [len(row) - 1 for row in windows.rows],
            importance=analysis.record.default_importance,
            ratio=tried[0].parameters / structure.parameters,
            vocabulary=self.subject.figures.require("vocab_size"),
            unused=self.text.unused is not None,
        )

    def _windows(self) -> TokenWindows:
        """Return windows that nothing was measured with; if there are none, some that were used."""
        if self.text.unused is not None:
            return self.text.unused
        measured = self.text.windows
        return replace(measured, rows=measured.rows[: window_count(len(measured.rows))])

    @torch.no_grad()
    def _losses(
        self, windows: TokenWindows, removals: Sequence[RemovedGroups]
    ) -> list[list[float]]:
        """Return for each removal the loss of every window, in nats, without its groups.

        Windows run one at a time, so that memory holds the logits of a single one.
        """
        structure = self.subject.structure
        layers = range(len(structure.layers))
        sites = find_sites(self.loaded, self.subject.adapter, structure, layers)
        rounds = [(index, row) for index in range(len(removals)) for row in windows.rows]
        losses: list[list[float]] = [[] for _ in removals]
        with frozen(self.loaded):
            for index, row in self.progress(
                rounds, total=len(rounds), label="trying the plan", unit="windows"
            ):
                with masked(sites, removals[index]):
                    losses[index] += window_losses(self.loaded, row[None].to(self.loaded.device))
        return losses


@dataclass(frozen=True)
class _Job:
    """What is measured, on what, and where."""

    model: PreparedModel
    subject: Subject
    methods: Sequence[Importance]
    text: CalibrationText
    prior: PriorPlan | None
    placement: Placement
    draw: LabelDraw | None
    batch_size: int

    def identity(self, options: AnalyzeOptions, progress: Progress) -> dict[str, Any]:
        """Return what decides the numbers, to the last bit."""
        prior = self.prior
        return {
            "trust_remote_code": options.trust_remote_code,
            "model": dict(self.model.identity(progress).files),
            "versions": tool_versions(),
            "text": self.text.windows.record.digest,
            "importances": sorted(method.name for method in self.methods),
            "device": torch.device(self.placement.device).type,
            "dtype": str(self.placement.dtype),
            "layers": [self.subject.layers.start, self.subject.layers.stop],
            "given": None if prior is None else prior.record.model_dump(),
            "labels": options.labels,
            "label_seed": self.label_seed,
            "batch_size": self.batch_size,
        }

    @property
    def label_seed(self) -> int | None:
        """The seed of sampled labels; None where the text gives them."""
        return None if self.draw is None else self.draw.seed


def _measured(
    job: _Job, options: AnalyzeOptions, work: RunFolder, log: RunLog, progress: Progress
) -> tuple[Any, Measured]:
    """Load the model, apply the prior plan, and run the text through it."""
    subject, windows = job.subject, job.text.windows
    with log.phase("load the model"):
        loaded = load_model(
            job.model.checkpoint,
            dtype=job.placement.dtype,
            device=job.placement.device,
            trust_remote_code=options.trust_remote_code,
        )
        unfuse_experts(loaded)
    if job.prior is not None:
        with log.phase("apply the prior plan"):
            compensated = CompensatedWeights(work.subfolder("given"))
            parts = (loaded, subject, job.prior, windows, compensated)
            apply_prior_plan(*parts, batch_size=job.batch_size, progress=progress)
    with log.phase("run the text through it"):
        how = Measuring(windows, job.methods, job.batch_size, job.draw, work, progress)
        return loaded, measure(loaded, subject, how, job.prior)


def _prior_plan(options: AnalyzeOptions, subject: Subject) -> PriorPlan | None:
    """Read the prior plan, if the options name one."""
    if options.prior_plan is None:
        return None
    steps = options.gate_steps if options.compensate else None
    return read_prior_plan(options.prior_plan, subject, steps)


def _batch_size(options: AnalyzeOptions, subject: Subject) -> int:
    """Return how many windows run at once: one with experts, which see tokens without windows."""
    return 1 if subject.structure.has_experts else options.batch_size


def _begin(work: RunFolder, identity: Mapping[str, Any], log: RunLog, *, resume: bool) -> None:
    """Make the run's folder, or resume the one that is there, and log which."""
    if resume:
        log.say("resume what an earlier run left" if work.exists else _NOTHING_LEFT)
    work.begin(identity, resume=resume)


def _refuse_numbers(options: AnalyzeOptions) -> None:
    """Raise `UsageError` for numbers out of range."""
    check_counts(
        samples=options.samples,
        seq_len=options.seq_len,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    check_gate_steps(options.gate_steps)
