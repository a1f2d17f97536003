"""Compensation around a cut: refused early, recorded truly, gone from memory, verified like any."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from applying import applied, bytes_below
from compensating import LENGTH, changed_in, compensated, differing, ids_file, record_of
from cutting import Removals, tensors_in, write_removals
from text_files import write_column
from tiny_models import random_ids

from globalprune import api
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.compensation.ridge import STRENGTHS
from globalprune.errors import GlobalPruneError, TextError, UsageError, VerificationFailed
from globalprune.models.loading import load_model
from globalprune.models.placement import Placement
from globalprune.options import ApplyOptions

Tiny = Callable[[str], Path]
GONE: Removals = {1: {"mlp": [0, 1, 2]}, 2: {"attention": [3]}}


@pytest.fixture
def never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the weights is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("globalprune.surgery.compensated_cut.load_model", refuse)


def short(folder: Path) -> dict[str, Any]:
    """One window."""
    return {"data": str(ids_file(folder, rows=1))}


def strange(folder: Path) -> dict[str, Any]:
    """Ids that the model doesn't know."""
    rows = (random_ids(4, LENGTH) + 200).tolist()
    return {"data": str(write_column(folder, "parquet", "input_ids", rows))}


REFUSALS: list[Any] = [
    pytest.param(short, UsageError, "compensation: a single window of text.*--samples 2", id="one"),
    pytest.param(strange, TextError, r"rows\.parquet.*vocabulary|vocab", id="ids beyond"),
    pytest.param(
        lambda folder: {"data": str(folder / "no.txt")}, TextError, "no such file", id="no file"
    ),
    pytest.param(
        lambda folder: {"data": str(ids_file(folder)), "samples": 99},
        TextError,
        "99",
        id="too many samples",
    ),
    pytest.param(lambda _: {"samples": 0}, UsageError, "--samples 0", id="no samples"),
    pytest.param(lambda _: {"batch_size": 0}, UsageError, "--batch-size 0", id="no batch"),
]


@pytest.mark.usefixtures("never_loaded")
@pytest.mark.parametrize(("ask", "error", "text"), REFUSALS)
def test_what_cannot_work_is_refused_before_the_weights_are_loaded(
    tiny: Tiny,
    tmp_path: Path,
    ask: Callable[[Path], dict[str, Any]],
    error: type[GlobalPruneError],
    text: str,
) -> None:
    """With a message of its own, and nothing is written."""
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    options = ApplyOptions(compensation=CompensationRequest(**ask(tmp_path)))
    with pytest.raises(error, match=text):
        api.apply(tiny("llama"), plan, tmp_path / "out", options)
    assert not {"out", "out.unfinished"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("never_loaded")
def test_a_device_without_float64_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The equations need it."""
    place = Placement("mps", torch.float32)
    monkeypatch.setattr("globalprune.models.placement.choose_placement", lambda *_: place)
    plan = write_removals(tmp_path / "plan.yaml", GONE)
    request = CompensationRequest(data=str(ids_file(tmp_path)))
    options = ApplyOptions(compensation=request, device="mps")
    with pytest.raises(UsageError, match="--device mps: has no float64; say --device cpu"):
        api.apply(tiny("llama"), plan, tmp_path / "out", options)


@pytest.mark.parametrize(("rows", "held_out"), [(2, 1), (7, 1), (16, 1), (32, 2), (40, 2)], ids=str)
def test_the_record_says_what_was_done(
    tiny: Tiny, tmp_path: Path, rows: int, held_out: int
) -> None:
    """Text, windows that only judged, strengths, dtype, every sublayer from the first cut on."""
    ids_file(tmp_path, rows)
    result = compensated(tiny("llama"), tmp_path, GONE)
    record = record_of(result.out)
    assert (record.text.samples, record.text.tokens) == (rows, rows * LENGTH)
    assert record.held_out_windows == held_out
    assert (record.strengths, record.dtype) == (STRENGTHS, "float32")
    assert [(module.tensor, module.kept_inputs) for module in record.modules] == [
        ("model.layers.1.mlp.down_proj.weight", 21),
        ("model.layers.2.self_attn.o_proj.weight", 48),
        ("model.layers.2.mlp.down_proj.weight", 24),
        ("model.layers.3.self_attn.o_proj.weight", 64),
        ("model.layers.3.mlp.down_proj.weight", 24),
    ]
    assert result.repaired_modules == record.accepted
    assert all(module.strength in {None, *STRENGTHS} for module in record.modules)


def test_only_what_was_accepted_differs_from_the_plain_cut(tiny: Tiny, tmp_path: Path) -> None:
    """The same names, shapes and dtypes; the rest are the bits of the model."""
    gone: Removals = {1: {"mlp": [0, 1, 2]}, 2: {"attention": [2]}}
    result = compensated(tiny("qwen2"), tmp_path, gone)
    (tmp_path / "plain").mkdir()
    plain = applied(tiny("qwen2"), tmp_path / "plain", gone)
    record = record_of(result.out)
    assert differing(result.out, plain.out) == changed_in(result.out)
    assert record.accepted == result.repaired_modules
    assert (result.parameters_after, result.layers) == (plain.parameters_after, plain.layers)
    assert plain.repaired_modules is None
    assert not (Path(plain.out) / "globalprune" / "compensation.json").exists()


def test_an_empty_plan_compensates_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """The model comes through bit for bit, and the record says that nothing was solved."""
    result = compensated(tiny("llama"), tmp_path, {})
    assert differing(result.out, tiny("llama")) == set()
    record = record_of(result.out)
    assert (result.repaired_modules, record.modules, record.final_norm) == (0, (), None)


def test_the_model_on_disk_is_only_read(tiny: Tiny, tmp_path: Path) -> None:
    """And compensation is repeatable to the last bit."""
    before = bytes_below(tiny("llama"))
    compensated(tiny("llama"), tmp_path, GONE)
    (tmp_path / "again").mkdir()
    compensated(tiny("llama"), tmp_path / "again", GONE)
    assert bytes_below(tiny("llama")) == before
    assert differing(tmp_path / "out", tmp_path / "again" / "out") == set()


def test_the_result_reloads_with_its_solved_weights(tiny: Tiny, tmp_path: Path) -> None:
    """What a loader sees are the tensors of the file, under the numbers of the smaller model."""
    gone: Removals = {0: {"attention": range(4), "mlp": range(24)}, 2: {"mlp": [1]}}
    result = compensated(tiny("llama"), tmp_path, gone)
    record = record_of(result.out)
    model = load_model(result.out).state_dict()
    stored = tensors_in(Path(result.out))
    assert all(torch.equal(model[name], tensor) for name, tensor in stored.items())
    assert result.repaired_modules == record.accepted > 0
    (tmp_path / "plain").mkdir()
    plain = applied(tiny("llama"), tmp_path / "plain", gone).out
    renumbered = {
        re.sub(r"layers\.(\d+)", lambda number: f"layers.{int(number[1]) - 1}", tensor)
        for tensor in changed_in(result.out)
    }
    assert differing(result.out, plain) == renumbered


def test_a_failed_verification_keeps_no_result(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compensated weights of a wrong shape are caught as a wrong cut is."""
    from globalprune.compensation.sublayer_weights import CompensatedWeights

    load_part = CompensatedWeights.load_part
    monkeypatch.setattr(
        CompensatedWeights,
        "load_part",
        lambda self, sublayer, part: load_part(self, sublayer, part)[
            :, int(part == "output") :
        ].contiguous(),
    )
    text = r"layers\.1\.mlp\.down_proj\.weight: promised \[32, 21\] F32, found \[32, 20\] F32"
    with pytest.raises(VerificationFailed, match=text):
        compensated(tiny("llama"), tmp_path, GONE)
    assert not os.path.lexists(tmp_path / "out")
