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
    """Windows of the phases behind a cut, as far as they were cut before it; the rest are None."""

    compensation: "TokenWindows | None" = None
    training: "tuple[TrainingText, ...] | None" = None
    evaluation: "EvaluationText | None" = None


NO_TEXTS: Final = Texts()


def evaluate_options(options: ApplyOptions) -> EvaluateOptions | None:
    """How the models before and after a cut are evaluated, if that is asked."""
    if options.evaluate is None:
        return None
    return EvaluateOptions(
        data=options.evaluate, device=options.device, dtype=options.dtype, speed=None
    )


def refuse_later_phases(options: ApplyOptions) -> None:
    """Raise for text that isn't there, and for a device that can't be trained on."""
    refuse_distributed()
    if options.finetune is not None:
        from globalprune.finetuning.inputs import choose_precision

        parse_mixture(options.finetune.data)
        choose_precision(options.device, options.dtype, options.finetune.settings.method)
    if options.evaluate is not None:
        parse_source(options.evaluate)


def read_later_texts(model: "PreparedModel", options: ApplyOptions, progress: Progress) -> Texts:
    """Cut the texts of finetuning and evaluation, which are refused now where they won't do.

    Text from the Hub that nobody named is not fetched for that.
    """
    from globalprune.evaluation.windows import EvaluationText
    from globalprune.text.training import training_texts

    training, evaluation = None, None
    if options.finetune is not None and options.finetune.data:
        settings = options.finetune.settings
        with _options_begin("--finetune-"):
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
        with _options_begin("--eval: "):
            evaluation.windows_for(model)
    return Texts(training=training, evaluation=evaluation)


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


def text_digests(names: Iterable[str | None]) -> dict[str, str | None]:
    """The digest of each text that lies on this machine, by its name; None for one from elsewhere.

    What the interpreter carries changes with its version alone. Text from the Hub is known by its
    windows, once they are cut.
    """
    from globalprune.text.files import files_digest

    found: dict[str, str | None] = {}
    for name in names:
        if name is not None:
            source = parse_mixture([name])[0].source
            found[name] = files_digest(source.paths) if isinstance(source, LocalText) else None
    return found
