"""machine.json measured on tiny models: its shape and its refusals; how fast they are is noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measuring import described
from records import machine_record, timed
from tiny_models import FAMILIES, save_tiny, tiny_model
from uneven_models import save_uneven

from globalprune.artifacts.evaluations.latency_table import MachineRecord
from globalprune.errors import UsageError
from globalprune.evaluation import latency
from globalprune.evaluation.latency import (
    UniformWidths,
    build_empty_model,
    measure_latencies,
    spaced_counts,
    warn_of_latencies,
    widths_to_time,
)
from globalprune.models.checkpoints import safetensors_checkpoint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.options import MeasureOptions

QUICK: dict[str, Any] = {"context": 5, "tokens": 1, "rounds": 1, "points": 2, "device": "cpu"}


def measured(folder: Path, **changes: Any) -> MachineRecord:
    """The record of as little as can be measured."""
    return measure_latencies(str(folder), MeasureOptions(**(QUICK | changes)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_down_to_empty_sublayers(
    tiny: Callable[[str], Path], family: str
) -> None:
    """Every point has a time, and the record says what it is of."""
    _, structure = described(tiny(family))
    record = measured(tiny(family), points=3, rounds=2, batch_size=2)
    whole = structure.layers[0].attention.groups, structure.layers[0].mlp.groups

    assert (record.full.attention, record.full.mlp) == whole
    assert [point.mlp for point in record.points_of("mlp")] == [0, 12, 24]
    counts = [point.attention for point in record.points_of("attention")]
    assert counts == ([0, 1] if whole[0] == 1 else [0, whole[0] // 2 + whole[0] % 2, whole[0]])
    assert all(len(point.seconds_per_token) == 2 for point in record.points)
    assert (record.model.structure, record.layers) == (structure.fingerprint, 4)
    assert (record.dtype, record.device, record.batch_size) == ("float32", "cpu", 2)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models in the order of their turns; the n-th turn takes n seconds."""
    ran: list[Any] = []

    def run(model: Any, *_: Any) -> float:
        ran.append(model)
        return float(len(ran))

    monkeypatch.setattr(latency, "seconds_per_token", run)
    return ran


def test_points_take_turns_after_a_round_that_warms_up(
    tiny: Callable[[str], Path], order: list[Any]
) -> None:
    """None is always first."""
    record = measured(tiny("llama"), rounds=2)
    first, second, third = order[:3]

    assert order == [first, second, third, second, third, first, third, first, second]
    assert [point.seconds_per_token for point in record.points] == [(6, 8), (4, 9), (5, 7)]


def test_no_weight_is_read(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Config and shapes say it all."""

    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(safetensors_checkpoint, "_read_tensor", refuse)
    assert measured(tiny("llama")).full.seconds_per_token[0] > 0


def test_half_precision_is_measured_as_asked(tiny: Callable[[str], Path]) -> None:
    """And recorded."""
    assert measured(tiny("qwen3"), dtype="bfloat16").dtype == "bfloat16"


def test_a_model_that_was_cut_evenly_is_measured(tmp_path: Path) -> None:
    """Also where its own architecture has no word for its shape."""
    cut = {layer: {"attention": (0, 2, 3), "mlp": (1, 2, 3)} for layer in range(4)}
    edit = save_uneven(tmp_path, tiny_model("llama"), cut)
    record = measured(tmp_path)

    assert edit.uneven
    assert (record.full.attention, record.full.mlp) == (3, 3)


@pytest.mark.parametrize(
    "cut",
    [{1: {"mlp": (0, 1)}}, {layer: {"attention": ()} for layer in range(4)}],
    ids=["layers that differ", "no attention anywhere"],
)
def test_a_model_that_was_cut_unevenly_is_refused(tmp_path: Path, cut: Any) -> None:
    """A point can't stand for all of its layers."""
    save_uneven(tmp_path, tiny_model("llama"), cut)
    with pytest.raises(
        UsageError, match=r"layers differ or have lost a sublayer.*before it was cut"
    ):
        measured(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, r"--rounds 0: must be at least 1\."),
        ({"dtype": "int3"}, "--dtype int3: is not a precision"),
        ({"device": "tpu9"}, "--device tpu9"),
        ({"context": 255}, r"--context 255: 1 tokens .* pass the 256 positions .* name 254 or fe"),
        ({"tokens": 256}, r"pass the 256 positions that .* was made for; take fewer --tokens\."),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    tiny: Callable[[str], Path], order: list[Any], changes: dict[str, Any], message: str
) -> None:
    """By the option that a person can change."""
    with pytest.raises(UsageError, match=message):
        measured(tiny("llama"), **changes)
    assert not order


def test_the_last_position_that_exists_can_be_measured(tmp_path: Path) -> None:
    """The refusal's own advice is followed."""
    save_tiny(tmp_path, "llama", max_position_embeddings=16)
    assert measured(tmp_path, context=14).context == 14
    with pytest.raises(UsageError, match="name 14 or fewer"):
        measured(tmp_path, context=15)


def test_what_memory_does_not_hold_is_refused(
    tiny: Callable[[str], Path], order: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache counts, as long as the batch makes it."""
    parameters = described(tiny("llama"))[1].parameters
    cache = 2 * 4 * 8 * 4 * 7  # two of four groups of eight numbers in four layers, for 7 tokens

    def memory() -> Any:
        return type("Memory", (), {"available": 5 * (parameters + 2 * cache)})

    monkeypatch.setattr(psutil, "virtual_memory", memory)
    assert measured(tiny("llama"), batch_size=2)
    order.clear()
    with pytest.raises(
        UsageError, match=r"--device cpu: .* are needed and .* are free; take a sma"
    ):
        measured(tiny("llama"), batch_size=3)
    assert not order


@given(groups=st.integers(1, 20_000), points=st.integers(2, 40))
def test_counts_go_from_almost_all_to_none(groups: int, points: int) -> None:
    """With the full layer never more than asked, all of few, and even steps."""
    counts = spaced_counts(groups, points)
    steps = [more - less for more, less in zip([groups, *counts], counts, strict=False)]

    assert counts[-1] == 0
    assert counts == sorted(set(counts), reverse=True)
    assert len(counts) == min(points - 1, groups)
    assert max(steps) - min(steps) <= (128 if groups >= 64 * points else 1)


@pytest.mark.parametrize(
    ("groups", "points", "counts"),
    [
        (3, 5, [2, 1, 0]),
        (8, 5, [6, 4, 2, 0]),
        (1536, 5, [1152, 768, 384, 0]),
        (14336, 7, [11968, 9536, 7168, 4800, 2368, 0]),
        (24, 2, [0]),
    ],
)
def test_many_channels_are_counted_by_64(groups: int, points: int, counts: list[int]) -> None:
    """As GPUs like them, and plans that are rounded to them."""
    assert spaced_counts(groups, points) == counts


@pytest.mark.parametrize("family", FAMILIES)
def test_an_emptied_sublayer_is_gone(tiny: Callable[[str], Path], family: str) -> None:
    """Not zeroed: its projections are in no layer, but for an output bias."""
    folder = tiny(family)
    _, structure = described(folder)
    config = open_checkpoint(resolve_model(str(folder))).config
    whole, *fewer = widths_to_time(structure.layers[0], 2)
    names = {
        kept: set(build_empty_model(config, structure, kept, torch.float32).state_dict())
        for kept in (whole, *fewer)
    }
    no_attention, no_mlp = fewer

    assert no_attention == UniformWidths(0, whole.mlp)
    assert no_mlp == UniformWidths(whole.attention, 0)
    for kind, without in (("attention", no_attention), ("mlp", no_mlp)):
        gone = {name.split(".", 3)[3] for name in names[whole] - names[without]}
        axes = adapter_for(config).axes(structure.layers[0], kind)  # type: ignore[arg-type]
        assert gone >= {axis.tensor for axis in axes} > set()


CALM = (
    timed(2, 8, 3.0, 3.1, 3.0),
    timed(1, 8, 2.0, 2.1, 2.0),
    timed(0, 8, 1.0, 1.1, 1.0),
    timed(2, 0, 1.5, 1.6, 1.5),
)


def test_calm_rounds_give_no_warning() -> None:
    """Not even where the whole machine drifts, since all points drift together."""
    drifting = [timed(point.attention, point.mlp, *(
        seconds + drift for seconds, drift in zip(point.seconds_per_token, (0, 9, 4), strict=True)
    )) for point in CALM]  # fmt: skip

    assert warn_of_latencies(machine_record(*CALM)) == ()
    assert warn_of_latencies(machine_record(*drifting)) == ()


def test_noise_that_drowns_the_steps_is_told_for_its_kind() -> None:
    """With both sizes, so that a person sees how far off it is."""
    noisy = timed(2, 0, 3.4, 2.7, 3.0)
    [warning] = warn_of_latencies(machine_record(*CALM[:3], noisy))

    assert warning.startswith("mlp: from one point to the next a token's time moves by 0 ms, and")
    assert "don't trust these figures" in warning


def test_one_large_step_does_not_hide_noise_in_the_others() -> None:
    """To empty a sublayer saves what the sublayer takes by being there, whatever its width."""
    noisy = timed(2, 6, 3.4, 2.7, 3.1), timed(2, 4, 2.8, 3.3, 3.0), timed(2, 2, 3.3, 2.9, 3.0)
    [warning] = warn_of_latencies(machine_record(*CALM, *noisy))

    assert warning.startswith("mlp: from one point to the next")


def test_one_round_is_told() -> None:
    """It says nothing of the noise."""
    assert warn_of_latencies(machine_record()) == (
        "one round can't tell latency from noise; take more --rounds.",
    )


def test_a_narrower_model_that_is_slower_is_told() -> None:
    """Beyond doubt, and it is said how it counts."""
    slow = timed(1, 8, 3.3, 3.4, 3.3)
    [warning] = warn_of_latencies(machine_record(CALM[0], slow, *CALM[2:]))

    assert warning.startswith("attention: keeping 1 of 2 takes 110.0")
    assert "counts as one that saves nothing" in warning
