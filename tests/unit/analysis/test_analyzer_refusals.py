"""What an analysis refuses, when, and that a failed one leaves nothing behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from analysing import analysed
from safetensors.torch import load_file, save_file

from globalprune.analysis import analyzer, output
from globalprune.errors import GlobalPruneError, NonFiniteError, UsageError

Tiny = Callable[[str], Path]


def nothing_loaded(*_args: object, **_options: object) -> None:
    """Stand in for the loading of weights where it must not come to that."""
    raise AssertionError("the weights were loaded")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"layers": "2:9"}, r"^--layers 2:9: the model has 4 layers, 0 to 3; end at 4\.$"),
        ({"layers": "1-3"}, r"^--layers 1-3: is not A:B"),
        ({"dtype": "fp16"}, r"^--dtype fp16: is not a precision; there are float32, bfloat16, "),
        ({"device": "warp"}, r"^--device warp: can't be used here \(.*\); try cpu\.$"),
        ({"batch_size": 0}, r"^--batch-size 0: must be at least 1\.$"),
        ({"importances": ["taylor", "magic"]}, r"^--importance: magic is not known; there are "),
        ({"labels": "drawn"}, r"^--labels: drawn is not known; there are text, sampled\.$"),
        ({"samples": 0}, r"^--samples 0: must be at least 1\.$"),
        ({"samples": 6}, r"ids\.jsonl: has 5 rows of `input_ids`, but --samples asks for 6; say "),
        ({"seq_len": 4}, r"ids\.jsonl: its rows of `input_ids` are up to 10 tokens long, and "),
        ({"data": "./missing.txt"}, r"^\./missing\.txt: there is no such file or folder\."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_are_refused_before_the_weights_are_loaded(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    complaint: str,
) -> None:
    """A large model takes minutes to load; a typo takes none."""
    monkeypatch.setattr(analyzer, "load_model", nothing_loaded)
    with pytest.raises(GlobalPruneError, match=complaint):
        analysed(tiny("llama"), tmp_path, **options)
    assert contents(tmp_path).keys() == {"ids.jsonl"}


def test_an_unknown_vocabulary_id_is_refused_before_the_weights_are_loaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocabulary is the model's, read from its config."""
    monkeypatch.setattr(analyzer, "load_model", nothing_loaded)
    path = tmp_path / "foreign.jsonl"
    path.write_text(json.dumps({"input_ids": [1, 260]}))
    with pytest.raises(GlobalPruneError, match=r"id 260 is outside the model's vocabulary"):
        analysed(tiny("llama"), tmp_path, data=str(path))


def test_an_occupied_folder_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old analysis is replaced only where that was said, and then its neighbours stay."""
    first = analysed(tiny("llama"), tmp_path)
    (first.folder / "plan.yaml").write_text("mine")
    before = contents(first.folder)
    with monkeypatch.context() as patch:
        patch.setattr(analyzer, "load_model", nothing_loaded)
        with pytest.raises(UsageError, match=r"is not empty; choose another folder or say --over"):
            analysed(tiny("llama"), tmp_path, layers="1:2")
    assert contents(first.folder) == before

    second = analysed(tiny("llama"), tmp_path, layers="1:2", overwrite=True)
    assert second.record.layers == (1, 2)
    assert contents(second.folder)["plan.yaml"] == b"mine"


def test_a_strangers_folder_is_never_overwritten(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--overwrite is for what globalprune wrote."""
    monkeypatch.setattr(analyzer, "load_model", nothing_loaded)
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds nothing that globalprune wrote \(analysis\.json"):
        analysed(tiny("llama"), tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True], ids=["new folder", "over an old analysis"])
def test_a_failure_while_writing_leaves_all_as_it_was(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, overwrite: bool
) -> None:
    """All four files or none: a table without its record would be trusted by nobody."""

    def full_disk(*_args: object) -> None:
        raise OSError("no space left on device")

    if overwrite:
        analysed(tiny("llama"), tmp_path, layers="1:2")
    else:
        analysed(tiny("llama"), tmp_path, out="elsewhere")
    before = contents(tmp_path)
    monkeypatch.setattr(output, "write_analysis_record", full_disk)
    with pytest.raises(OSError, match="no space left"):
        analysed(tiny("llama"), tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == before
    assert (tmp_path / "analysis").exists() == overwrite


def test_a_model_that_breaks_while_it_runs_leaves_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """The layer and the window are named, and no half of an analysis lies about."""
    broken = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.self_attn.v_proj.weight"][3] = torch.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        NonFiniteError,
        match=r"^model\.layers\.1\.self_attn\.o_proj: its input is not finite in window 0 of the",
    ):
        analysed(broken, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "ids.jsonl"}
