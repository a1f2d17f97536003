"""Refuses before the first phase what a later phase would refuse."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from globalprune.artifacts.run_folder import RunFolder
from globalprune.artifacts.writer_lock import refuse_distributed
from globalprune.errors import TextError
from globalprune.pipeline.options import Cutting, Recovery
from globalprune.text.files import files_digest
from globalprune.text.source import LocalText, parse_mixture, parse_source


def refuse_early(
    cutting: Cutting, plan: Path, recovery: Recovery | None, evaluate: str | None
) -> tuple[str, ...]:
    """Raise what applying, finetuning or judging would raise for the same; nothing is written.

    What applying would warn of is said now, and returned.
    """
    from globalprune.surgery.executor import check_apply

    refuse_later_phases(cutting, recovery, evaluate)
    warnings = check_apply(
        cutting.model,
        plan,
        cutting.out,
        analysis=cutting.analysis,
        overwrite=cutting.overwrite,
        compensation=cutting.compensated_in(
            RunFolder(None)
        ),  # nothing is solved, so nothing is kept
        save_dtype=cutting.save_dtype,
    )
    for warning in warnings:
        cutting.warn(warning)
    return warnings


def refuse_compensation(cutting: Cutting) -> None:
    """Raise for text that compensation can't use, if it is asked for; nothing is solved.

    Text from the Hub that nobody named is not fetched for that.
    """
    from globalprune.models.checkpoints.open import open_checkpoint
    from globalprune.models.sources.source import resolve_model
    from globalprune.surgery.compensate import read_windows

    compensation = cutting.compensated_in(RunFolder(None))
    if compensation is not None and compensation.request.data is not None:
        read_windows(compensation, open_checkpoint(resolve_model(cutting.model)))


def refuse_unusable_texts(
    cutting: Cutting, recovery: Recovery | None, evaluate: str | None
) -> None:
    """Raise for text that is too short, or of another kind, before the phases ahead of its use.

    Text from the Hub that nobody named is not fetched for that.
    """
    from globalprune.models.checkpoints.open import open_checkpoint
    from globalprune.models.loading import load_tokenizer
    from globalprune.models.sources.source import resolve_model
    from globalprune.text.evaluation import evaluation_windows
    from globalprune.text.training import training_texts

    source = resolve_model(cutting.model)
    vocab_size = open_checkpoint(source).config["vocab_size"]
    load = partial(load_tokenizer, source.path)
    if recovery is not None and recovery.data:
        asked = recovery.settings
        with _options_begin("--finetune-"):
            training_texts(
                recovery.data,
                load,
                vocab_size=vocab_size,
                samples=asked.samples,
                seq_len=asked.seq_len,
                seed=asked.seed,
            )
    if evaluate is not None:
        with _options_begin("--eval: "):
            evaluation_windows(evaluate, load, vocab_size=vocab_size)


@contextmanager
def _options_begin(prefix: str) -> Iterator[None]:
    """Let what is said of text name the options of this command."""
    try:
        yield
    except TextError as error:
        message = str(error)
        if prefix.endswith("-"):
            for option in ("samples", "seq-len", "data"):
                message = message.replace(f"--{option}", f"{prefix}{option}")
            raise TextError(message) from error
        raise TextError(f"{prefix}{message}") from error


def refuse_later_phases(cutting: Cutting, recovery: Recovery | None, evaluate: str | None) -> None:
    """Raise for text that isn't there, and for a device that can't be trained on."""
    refuse_distributed()
    if recovery is not None:
        from globalprune.finetuning.settings import choose_precision

        parse_mixture(recovery.data)
        choose_precision(cutting.device, cutting.dtype, recovery.settings.method)
    if evaluate is not None:
        parse_source(evaluate)


def text_digests(names: Iterable[str | None]) -> dict[str, str | None]:
    """The digest of each text that lies on this machine, by its name; None for one from elsewhere.

    What the interpreter carries changes with its version alone. Text from the Hub is known by its
    windows, once they are cut.
    """
    found: dict[str, str | None] = {}
    for name in names:
        if name is not None:
            source = parse_mixture([name])[0].source
            found[name] = files_digest(source.paths) if isinstance(source, LocalText) else None
    return found
