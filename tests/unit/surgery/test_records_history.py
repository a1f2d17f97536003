"""A model that is cut again: the first model, every step, and a map that leads to the first."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from applying import ALL_CHANNELS, applied
from command_line import gp
from cutting import Removals, tensors_in

from globalprune.artifacts.results.cut import read_metrics
from globalprune.errors import TableInvalid

Tiny = Callable[[str], Path]
FIRST: Removals = {
    0: {"mlp": [0, 5], "attention": [1]},
    1: {"attention": [0, 1, 2, 3], "mlp": ALL_CHANNELS},
}
SECOND: Removals = {0: {"mlp": [0, 1]}, 1: {"attention": [2]}, 2: {"mlp": range(3, 9)}}


def cut_twice(model: Path, folder: Path) -> Path:
    """Cut a model, move the result elsewhere, and cut that."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    first = ("gp", "apply", "first", "--plan", "p1")
    one = Path(applied(model, folder / "one", FIRST, command=first).out)
    moved = Path(shutil.move(one, folder / "renamed model"))
    second = ("gp", "apply", "second", "--plan", "p2")
    return Path(applied(moved, folder / "two", SECOND, command=second).out)


def test_the_map_leads_to_the_first_model(tiny: Tiny, tmp_path: Path) -> None:
    """Every channel and head of the second result is the one of the first model that it says."""
    out = cut_twice(tiny("llama"), tmp_path)
    before, after = tensors_in(tiny("llama")), tensors_in(out)
    table = pq.read_table(out / "globalprune" / "origin.parquet")
    seen = {}
    for row in table.to_pylist():
        new = f"model.layers.{row['layer_idx']}"
        old = f"model.layers.{row['origin_layer_idx']}"
        at, origin = row["group_idx"], row["origin_group_idx"]
        name = "mlp.gate_proj.weight" if row["group_type"] == "mlp" else "self_attn.k_proj.weight"
        wide = 1 if row["group_type"] == "mlp" else 8
        found = after[f"{new}.{name}"][at * wide : (at + 1) * wide]
        assert torch.equal(found, before[f"{old}.{name}"][origin * wide : (origin + 1) * wide])
        seen[row["layer_idx"]] = row["origin_layer_idx"]

    assert seen == {0: 0, 1: 2, 2: 3}
    assert table.num_rows == 3 * (4 + 24) - 2 - 1 - 2 - 1 - 6
    assert (
        table.schema.metadata[b"weights"].decode()
        == read_metrics(out / "globalprune" / "metrics.json").original_model.weights
    )


def test_record_and_card_tell_the_whole_history(tiny: Tiny, tmp_path: Path) -> None:
    """The first model with its licence, every command, and what went in all."""
    model = Path(shutil.copytree(tiny("llama"), tmp_path / "base"))
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    out = cut_twice(model, tmp_path)
    metrics = read_metrics(out / "globalprune" / "metrics.json")
    card = (out / "README.md").read_text()

    assert metrics.original_model.source == str(model)
    assert metrics.original_model.parameters == 50_720
    (earlier,) = metrics.earlier
    assert (earlier.kind, earlier.weights) == ("cut", metrics.model.weights)
    assert earlier.command[:3] == ("gp", "apply", "first")
    removed = 50_720 - metrics.parameters_after
    assert f"`base` with {removed:,} of its 50,720 parameters" in card
    assert "cut out by globalprune in 2 cuts" in card
    assert "license: mit" in card
    assert card.index("$ gp apply first --plan") < card.index("$ gp apply second --plan")
    assert "Removed by the last cut:" in card
    page = tmp_path / "r.html"
    assert gp("report", out, "-o", page).code == 0
    assert "left of the first model" in page.read_text()


def test_records_that_don_t_belong_to_the_model_are_told_apart(tiny: Tiny, tmp_path: Path) -> None:
    """Other weights are a step that nobody recorded; a map of other groups leads nowhere."""
    out = Path(applied(tiny("llama"), tmp_path, FIRST).out)
    own = out / "globalprune"
    record = json.loads((own / "metrics.json").read_text())
    (own / "metrics.json").write_text(json.dumps(record | {"weights": "sha256:other"}))
    other = cut_twice(tiny("llama"), tmp_path / "x") / "globalprune" / "origin.parquet"
    shutil.copyfile(other, own / "origin.parquet")
    again = applied(out, tmp_path / "x" / "one", {0: {"mlp": [0]}})

    told = " ".join(again.warnings)
    assert "its origin.parquet counts other groups than it has" in told
    assert "its records are of other weights" in told
    (own / "origin.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableInvalid, match=r"origin\.parquet: is no map of groups"):
        applied(out, tmp_path / "x", {0: {"mlp": [0]}})
