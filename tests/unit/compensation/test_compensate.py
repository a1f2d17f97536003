"""The pruned stream of compensation is the saved model's, and nearer to the uncut one's."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from applying import ALL_CHANNELS, applied, prepared_cut
from compensating import (
    ROWS,
    changed_in,
    compensated,
    compensation,
    differing,
    ids_file,
    leaving,
    record_of,
    running,
    save_with_twins,
)
from cutting import Removals, cuttable, groups_of, tensors_in, write_removals
from tiny_models import FAMILIES, random_ids, tiny_model
from uneven_models import save_uneven, uneven_cut

from globalprune.artifacts.results.cut import GATE_STEPS, CompensatedModule
from globalprune.artifacts.run_folder import RunFolder
from globalprune.compensation.compensate import VALIDATION_EVERY, compensate_sublayers
from globalprune.compensation.sublayer_weights import CompensatedWeights
from globalprune.models.loading import load_model
from globalprune.progress import silent
from globalprune.sublayers.residual_stream import StreamBatch, stream_batches
from globalprune.surgery.compensated_cut import read_windows

Tiny = Callable[[str], Path]
IDS = random_ids(ROWS, 24)
PARTS: Removals = {1: {"attention": [0], "mlp": [1, 2, 3, 4, 5]}, 3: {"mlp": range(0, 24, 2)}}


def emptied(family: str) -> Removals:
    """Sublayers that go whole, one of them first of all, another right behind a narrowed one."""
    groups = range(groups_of(family, "attention"))
    return {0: {"mlp": ALL_CHANNELS}, 2: {"attention": groups, "mlp": [7]}, 3: {"attention": [0]}}


def layer_gone(family: str) -> Removals:
    """A layer of which nothing but biases is left."""
    return {1: {"attention": range(groups_of(family, "attention")), "mlp": ALL_CHANNELS}}


CUTS: dict[str, Callable[[str], Removals]] = {
    "parts": lambda _family: PARTS,
    "emptied sublayers": emptied,
    "a layer": layer_gone,
}


def walked(
    base: Path, folder: Path, gone: Removals, batch_size: int = 4
) -> tuple[list[StreamBatch], tuple[CompensatedModule, ...]]:
    """Run both streams through a model by hand; keep the weights where applying looks."""
    asked = compensation(folder)
    plan = write_removals(folder / "plan.yaml", gone)
    prepared = prepared_cut(base, plan, compensation=asked.compensation)
    windows = read_windows(prepared.model, asked)
    assert windows is not None
    found = running(base)
    batches = stream_batches(found, windows, batch_size=batch_size, held_out_every=VALIDATION_EVERY)
    weights = CompensatedWeights(RunFolder(folder / "work"))
    modules = compensate_sublayers(
        found.sublayers,
        prepared.effect,
        batches,
        weights,
        prepared.checkpoint.read,
        gate_steps=GATE_STEPS,
        progress=silent,
    )
    return batches, modules


def assert_streams(batches: list[StreamBatch], base: Path, out: Path) -> None:
    """Both streams are those of the models as stored, as they leave the last layer."""
    dense = torch.cat([batch.dense for batch in batches])
    pruned = torch.cat([batch.pruned for batch in batches])
    torch.testing.assert_close(dense, leaving(load_model(base), IDS), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pruned, leaving(load_model(out), IDS), rtol=1e-4, atol=1e-4)


def missed(model: Path, base: Path) -> float:
    """How far a model's stream is from that of the uncut one, as a sum of squares."""
    off = leaving(load_model(model), IDS) - leaving(load_model(base), IDS)
    return float(off.square().sum())


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_streams_are_those_of_the_saved_models(
    tiny: Tiny, tmp_path: Path, family: str, cut: str
) -> None:
    """Compensation sees the model that is written, and that is nearer to the uncut one."""
    gone = cuttable(family, CUTS[cut](family))
    batches, modules = walked(tiny(family), tmp_path, gone)
    compensated(tiny(family), tmp_path, gone)
    assert_streams(batches, tiny(family), tmp_path / "out")
    assert modules == record_of(tmp_path / "out").modules
    assert any(module.accepted for module in modules)
    assert all(module.error_after <= module.error_before for module in modules)

    (tmp_path / "plain").mkdir()
    plain = Path(applied(tiny(family), tmp_path / "plain", gone).out)
    assert missed(tmp_path / "out", tiny(family)) < missed(plain, tiny(family))


def test_a_model_that_was_cut_before_is_compensated_too(tmp_path: Path) -> None:
    """Its emptied sublayers are walked through as they are, with the biases that outlived them."""
    base = tmp_path / "base"
    save_uneven(base, tiny_model("llama_tied_bias"), uneven_cut("llama_tied_bias"))
    gone: Removals = {1: {"mlp": [0]}, 3: {"mlp": [1, 2]}}
    batches, modules = walked(base, tmp_path, gone)
    compensated(base, tmp_path, gone)
    assert_streams(batches, base, tmp_path / "out")
    places = [(module.layer_idx, module.group_type) for module in modules]
    assert places == [(1, "mlp"), (2, "attention"), (3, "attention"), (3, "mlp")]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_cut_is_nothing_compensated(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """The streams stay one, and that one is the model's own."""
    batches, modules = walked(tiny(family), tmp_path, {})
    assert modules == ()
    assert all(batch.is_uncut for batch in batches)
    expected = leaving(load_model(tiny(family)), IDS)
    torch.testing.assert_close(torch.cat([batch.dense for batch in batches]), expected)


def test_the_stream_runs_with_weights_as_they_are_saved(tmp_path: Path) -> None:
    """Of a bfloat16 checkpoint: rounded before the next sublayer, and of that dtype."""
    base = tmp_path / "base"
    tiny_model("qwen2").bfloat16().save_pretrained(base)
    batches, _ = walked(base, tmp_path, PARTS)
    compensated(base, tmp_path, PARTS)
    assert_streams(batches, base, tmp_path / "out")
    assert {tensor.dtype for tensor in tensors_in(tmp_path / "out").values()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_nothing_helps_keeps_the_bits_of_the_checkpoint(
    tiny: Tiny, tmp_path: Path, dtype: str
) -> None:
    """In whatever dtype the streams run: only what was accepted differs from the plain cut."""
    compensated(tiny("llama"), tmp_path, PARTS, dtype=dtype, gate_steps=0)
    (tmp_path / "plain").mkdir()
    plain = applied(tiny("llama"), tmp_path / "plain", PARTS).out
    record = record_of(tmp_path / "out")
    assert differing(tmp_path / "out", plain) == changed_in(tmp_path / "out")
    assert 0 < record.accepted < len(record.modules)


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias"])
def test_what_others_can_say_is_not_lost(tmp_path: Path, family: str) -> None:
    """A channel whose twin stays: the model is the uncut one again, biases counted once."""
    base = save_with_twins(tmp_path / "base", family, layer=1, channel=4, twin=9)
    gone: Removals = {1: {"mlp": [9]}}
    compensated(base, tmp_path, gone)
    (tmp_path / "plain").mkdir()
    plain = Path(applied(base, tmp_path / "plain", gone).out)
    assert missed(tmp_path / "out", base) < 1e-4 * missed(plain, base)
    with torch.no_grad():
        logits = [load_model(folder)(IDS).logits for folder in (tmp_path / "out", base)]
    torch.testing.assert_close(*logits, rtol=0, atol=2e-3)
    down = record_of(tmp_path / "out").modules[0]
    assert (down.strength, down.kept_inputs) == (1e-4, 23)
    assert down.error_after < 1e-5 < down.error_before


def test_batches_change_nothing_beyond_rounding(tiny: Tiny, tmp_path: Path) -> None:
    """One window at a time, a few, and all at once."""
    found = []
    for size in (1, 3, ROWS):
        folder = tmp_path / str(size)
        ids_file(folder)
        compensated(tiny("qwen3"), folder, PARTS, batch_size=size)
        found.append(tensors_in(folder / "out"))
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)
