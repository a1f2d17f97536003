"""The text of an evaluation, cut into windows once for each tokenizer."""

from transformers import PreTrainedTokenizerBase

from globalprune.models.prepared_model import PreparedModel
from globalprune.options import EvaluateOptions
from globalprune.progress import Progress, silent
from globalprune.text.evaluation import evaluation_windows
from globalprune.text.windows import TokenWindows


class EvaluationText:
    """The windows that models are evaluated on; models of one tokenizer share them."""

    def __init__(self, options: EvaluateOptions, progress: Progress = silent) -> None:
        """Take the text and the shape of its windows from the options; nothing is read yet."""
        self._options, self._progress = options, progress
        self._known: list[tuple[int, str | None, TokenWindows]] = []

    def windows_for(self, model: PreparedModel) -> TokenWindows:
        """Return the windows as the model's tokenizer cuts them.

        Raise `TextError` where the text is too short, or has ids that the model doesn't know.
        """
        for vocab_size, tokenizer, windows in self._known:
            if vocab_size == model.vocab_size and tokenizer in (None, model.tokenizer_digest):
                return windows
        return self._cut(model)

    def _cut(self, model: PreparedModel) -> TokenWindows:
        """Read the text; rows of `input_ids` take no tokenizer, so they are any tokenizer's."""
        loaded: list[str | None] = []

        def load_tokenizer() -> PreTrainedTokenizerBase:
            loaded.append(model.tokenizer_digest)
            return model.tokenizer

        options = self._options
        windows = evaluation_windows(
            options.data,
            load_tokenizer,
            vocab_size=model.vocab_size,
            samples=options.samples,
            seq_len=options.seq_len,
            stride=options.stride,
            progress=self._progress,
        )
        self._known.append((model.vocab_size, loaded[0] if loaded else None, windows))
        return windows
