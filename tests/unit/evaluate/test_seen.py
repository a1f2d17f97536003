"""Text that a model was cut by says too much good of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from applying import write_record
from measuring import described
from records import text_record

from globalprune.artifacts.results.finetuning import RecoverySettings, read_recovery
from globalprune.evaluate.seen import warn_of_seen_text
from globalprune.recover.finetuner import finetune

CALIBRATED = ("sha256:a", "sha256:b", "sha256:c")


@pytest.fixture
def result(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder in which the analysis lies that it was cut by."""
    structure = described(tiny("llama"))[1]
    write_record(tmp_path / "globalprune", structure, table="sha256:t", digests=CALIBRATED)
    return tmp_path


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        (("sha256:b",), "1 of 1 evaluation document was seen in calibration (calibration.txt)"),
        (
            ("sha256:x", "sha256:c", "sha256:a", "sha256:a"),
            "2 of 3 evaluation documents were seen in calibration (calibration.txt)",
        ),
    ],
    ids=["one", "some"],
)
def test_documents_that_were_seen_are_counted(
    result: Path, documents: Sequence[str], text: str
) -> None:
    """Each once, and the message names the calibration text and says what to do."""
    warning = warn_of_seen_text(result, text_record(document_digests=tuple(documents)))
    assert warning is not None
    assert warning.startswith(text)
    assert warning.endswith("the perplexity flatters this model, so judge it by other text.")


def test_other_documents_give_no_warning(result: Path) -> None:
    """Nor does the same source with other documents."""
    assert (
        warn_of_seen_text(
            result, text_record(document_digests=("sha256:x",), source="calibration.txt")
        )
        is None
    )


def test_a_model_without_a_record_gives_no_warning(tmp_path: Path) -> None:
    """Nothing is known of how it was made."""
    assert warn_of_seen_text(tmp_path, text_record(document_digests=tuple(CALIBRATED))) is None


def test_a_record_that_can_not_be_read_is_said(result: Path) -> None:
    """Silence would pass for a clean bill."""
    (result / "globalprune" / "analysis.json").write_text("{}")
    warning = warn_of_seen_text(result, text_record(document_digests=("sha256:x",)))
    assert warning is not None
    assert warning.startswith("can't tell whether this text was seen before: ")


def test_text_that_was_learned_counts_too(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """A finetuned model is flattered by its own lessons, more than by calibration."""
    out = tmp_path / "out"
    settings = RecoverySettings(samples=2, seq_len=16)
    finetune(str(tiny("llama")), out, settings, data=["builtin"])
    learned = read_recovery(out / "globalprune" / "recovery.json").runs[0].data[0].text
    warning = warn_of_seen_text(out, learned)

    assert warning is not None
    assert f"seen in finetuning ({learned.source})" in warning
