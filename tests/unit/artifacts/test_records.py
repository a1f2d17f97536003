"""Records of another format, or of none: refused by name before any key of theirs is judged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from globalprune.artifacts.analyses.analysis import read_analysis_record
from globalprune.artifacts.evaluations.evaluation_table import read_evaluation
from globalprune.artifacts.records import digest_bytes, digest_json, tool_versions
from globalprune.artifacts.results.cut import read_compensation, read_metrics
from globalprune.artifacts.results.finetuning import read_finetune_record
from globalprune.errors import RecordInvalid

READERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "globalprune.analysis/1": (read_analysis_record, "gp analyze"),
    "globalprune.compensation/1": (read_compensation, "gp apply --compensate"),
    "globalprune.evaluation/2": (read_evaluation, "gp eval"),
    "globalprune.metrics/1": (read_metrics, "gp apply"),
    "globalprune.recovery/1": (read_finetune_record, "gp finetune"),
}


def refusal(path: Path, reads: str, **content: Any) -> str:
    """What is said of a record with this content and keys that nobody knows."""
    path.write_text(json.dumps({**content, "layers": None, "terraform_version": 1}))
    with pytest.raises(RecordInvalid) as caught:
        READERS[reads][0](path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("reads", READERS)
@pytest.mark.parametrize("version", [0, 3, 17])
def test_a_newer_or_older_record_is_refused_by_name(
    tmp_path: Path, reads: str, version: int
) -> None:
    """With the format that is read here, and both ways out."""
    said = f"{reads.partition('/')[0]}/{version}"
    assert refusal(tmp_path / "record.json", reads, format=said) == (
        f"is of format {said}, this globalprune reads {reads}; install the globalprune that wrote "
        f"it, or run {READERS[reads][1]} again."
    )


@pytest.mark.parametrize("reads", READERS)
@pytest.mark.parametrize("said", ["terraform/1", "globalprune.plan/1", "1", 1, "", []], ids=repr)
def test_what_is_no_format_of_ours_is_refused_by_name(
    tmp_path: Path, reads: str, said: object
) -> None:
    """Another program's file, or another file of ours."""
    assert refusal(tmp_path / "record.json", reads, format=said) == (
        f"is of format {said}, which is not {reads}; name another file, or run "
        f"{READERS[reads][1]} again."
    )


@pytest.mark.parametrize("reads", READERS)
@pytest.mark.parametrize("content", [{}, {"format": None}], ids=["missing", "null"])
def test_a_record_without_a_format_is_refused(
    tmp_path: Path, reads: str, content: dict[str, Any]
) -> None:
    """It may be of any, so nothing in it is judged."""
    assert refusal(tmp_path / "record.json", reads, **content) == (
        f"names no format; add `format: {reads}` if it is of that one, or run "
        f"{READERS[reads][1]} again."
    )


def test_digests_can_be_computed_without_us() -> None:
    """SHA-256 of the bytes; of JSON in one spelling, whatever the order of the keys."""
    expected = "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert digest_bytes(b"a", memoryview(b"bc")) == expected
    spelling = '{"a":[1,"\\u00e4"],"b":null}'
    assert digest_json({"b": None, "a": [1, "ä"]}) == digest_bytes(spelling.encode())


def test_versions_name_what_can_change_a_figure() -> None:
    """Python and torch for two."""
    assert {"python", "globalprune", "torch", "transformers"} <= tool_versions().keys()
