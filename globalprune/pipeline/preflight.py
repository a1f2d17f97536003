"""Refuses before the first phase what a later phase would refuse, and keeps the texts it read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from globalprune.artifacts.writer_lock import refuse_distributed
from globalprune.errors import TextError
from globalprune.options import ApplyOptions, EvaluateOptions
from globalprune.progress import Progress
from globalprune.text.source import LocalText, parse_mixture, parse_source

if TYPE_CHECKING:
    from globalprune.evaluation.windows import EvaluationText
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.text.training import TrainingText
    from globalprune.text.windows import TokenWindows


@dataclass(frozen=True)
class Texts:
    """The windows of the phases after an analysis that were read beforehand; the rest are None."""

    compensation: "TokenWindows | None" = None
    training: "tuple[TrainingText, ...] | None" = None
    evaluation: "EvaluationText | None" = None


NO_TEXTS: Final = Texts()


def evaluate_options(options: ApplyOptions) -> EvaluateOptions | None:
    """Return how the models before and after a cut are evaluated; None for no evaluation."""
    if options.evaluate is None:
        return None
    return EvaluateOptions(
        data=options.evaluate, device=options.device, dtype=options.dtype, speed=None
    )


def refuse_later_phases(options: ApplyOptions) -> None:
    """Raise `TextError` for a missing text, `UsageError` for a device that can't be trained on."""
    refuse_distributed()
    if options.finetune is not None:
        from globalprune.finetuning.inputs import choose_precision

        parse_mixture(options.finetune.data)
        choose_precision(options.device, options.dtype, options.finetune.settings.method)
    if options.evaluate is not None:
        parse_source(options.evaluate)


def read_later_texts(model: "PreparedModel", options: ApplyOptions, progress: Progress) -> Texts:
    """Read the texts of finetuning and evaluation; raise for those that won't do.

    The default text from the Hub is not fetched for that.
    """
    from globalprune.evaluation.windows import EvaluationText
    from globalprune.text.training import training_texts

    training, evaluation = None, None
    if options.finetune is not None and options.finetune.data:
        settings = options.finetune.settings
        with _options_named("--finetune-"):
            training = training_texts(
                options.finetune.data,
                model.load_tokenizer,
                vocab_size=model.vocab_size,
                samples=settings.samples,
                seq_len=settings.seq_len,
                seed=settings.seed,
                progress=progress,
            )
    if (evaluating := evaluate_options(options)) is not None:
        evaluation = EvaluationText(evaluating, progress)
        with _options_named("--eval: "):
            evaluation.windows_for(model)
    return Texts(training=training, evaluation=evaluation)


@contextmanager
def _options_named(prefix: str) -> Iterator[None]:
    """Make errors about text name the options of this command, which begin with `prefix`."""
    try:
        yield
    except TextError as error:
        message = str(error)
        if prefix.endswith("-"):
            for option in ("samples", "seq-len", "data"):
                message = message.replace(f"--{option}", f"{prefix}{option}")
            raise TextError(message) from error
        raise TextError(f"{prefix}{message}") from error


def text_digests(names: Iterable[str | None]) -> dict[str, str | None]:
    """Return the digest of each text on this machine, by its name; None for other texts.

    `builtin` changes only with the version of Python. Text from the Hub is identified by its
    windows, once they are cut.
    """
    from globalprune.text.files import files_digest

    digests: dict[str, str | None] = {}
    for name in names:
        if name is not None:
            source = parse_mixture([name])[0].source
            digests[name] = files_digest(source.paths) if isinstance(source, LocalText) else None
    return digests
