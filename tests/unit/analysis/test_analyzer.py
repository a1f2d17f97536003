"""One analysis: its table, its record, and what it leaves in the folder."""

from collections.abc import Callable
from pathlib import Path

import measuring
import numpy as np
import plain_autograd
import pytest
import torch
from analysing import analysed, column, write_ids
from tiny_models import random_ids, tiny_model
from transformers import LlamaModel
from uneven_models import masked, save_uneven, uneven_cut

from globalprune.artifacts.records import RECORDED_TOOLS
from globalprune.artifacts.structure import GROUP_TYPES
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.sources.source import resolve_model
from globalprune.options import DEFAULT_IMPORTANCE

Tiny = Callable[[str], Path]
FILES = {"groups.parquet", "analysis.json", "description.txt", "analyze.log"}


def test_an_analysis_is_four_files_and_nothing_beside_them(tiny: Tiny, tmp_path: Path) -> None:
    """The folder is made with its parents."""
    analysis = analysed(tiny("llama"), tmp_path, out="new/analysis")
    assert {path.name for path in analysis.folder.iterdir()} == FILES
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["analysis"]


@pytest.mark.parametrize("family", ["llama", "llama_tied_bias", "qwen2"])
def test_costs_are_counted_from_the_tensors(tiny: Tiny, tmp_path: Path, family: str) -> None:
    """What cutting a group saves is what it owns: rows, columns and input-side biases."""
    table = analysed(tiny(family), tmp_path).table
    model = tiny_model(family)
    owned = dict(model.named_parameters())
    counted = {
        key: sum(owned[name][where].numel() for name, where in plain_autograd.slices(model, *key))
        for key in plain_autograd.groups(model)
    }
    keys = zip(table.layer_idx, table.group_type, table.group_idx, strict=True)
    rows = [(int(layer), GROUP_TYPES[kind], int(index)) for layer, kind, index in keys]
    assert dict(zip(rows, table.cost.tolist(), strict=True)) == counted
    np.testing.assert_allclose(table.score, table.importance / table.cost)
    assert (np.diff(table.score) >= 0).all()


def test_the_record_says_what_was_measured_and_how(tiny: Tiny, tmp_path: Path) -> None:
    """Model, text, methods and precision can all be known again from it."""
    analysis = analysed(
        tiny("qwen2"), tmp_path, importances=["taylor_2nd", "wanda"], batch_size=2,
        dtype="bfloat16", layers="1:3", command=("gp", "analyze", "…"),
    )  # fmt: skip
    record, checkpoint = analysis.record, open_checkpoint(resolve_model(str(tiny("qwen2"))))
    assert record.model.source == str(tiny("qwen2"))
    assert record.model.weights_fingerprint == weights_fingerprint(checkpoint)
    assert record.model.parameters == checkpoint.parameters
    assert record.model.prunable_parameters == 2 * int(analysis.table.cost.sum())
    assert (record.methods, record.default_importance) == (("taylor_2nd", "wanda"), "taylor_2nd")
    assert (record.dtype, record.batch_size, record.layers) == ("bfloat16", 2, (1, 3))
    assert (record.calibration.samples, record.calibration.tokens) == (5, 50)
    assert record.versions.keys() == {"python", *RECORDED_TOOLS}
    assert record.command == ("gp", "analyze", "…")
    assert record.peak_memory_bytes > 2**20
    assert record.warnings == ()


def test_table_and_record_cite_each_other(tiny: Tiny, tmp_path: Path) -> None:
    """The record by the table's digest, the table by the identity of the analysis."""
    analysis = analysed(tiny("llama"), tmp_path)
    assert analysis.record.table == analysis.table.digest
    assert analysis.table.metadata["globalprune.analysis"] == analysis.record.identity
    assert analysis.table.metadata["globalprune.importance"] == DEFAULT_IMPORTANCE


def test_the_same_command_gives_the_same_analysis(tiny: Tiny, tmp_path: Path) -> None:
    """To the last bit of every importance."""
    methods = ["taylor", "taylor_2nd", "wanda"]
    first = analysed(tiny("llama"), tmp_path, out="first", importances=methods)
    second = analysed(tiny("llama"), tmp_path, out="second", importances=methods)
    assert second.table.digest == first.table.digest
    assert second.record.identity == first.record.identity
    assert all(column(second, name) == column(first, name) for name in methods)


def test_another_text_makes_another_analysis(tiny: Tiny, tmp_path: Path) -> None:
    """Neither its table nor its identity is taken for the first one's."""
    first = analysed(tiny("llama"), tmp_path, out="first")
    other = write_ids(tmp_path / "other.jsonl", tuple(random_ids(5, 10, seed=1)))
    second = analysed(tiny("llama"), tmp_path, out="second", data=other)
    assert second.table.digest != first.table.digest
    assert second.record.identity != first.record.identity


def test_every_method_has_its_column_and_the_first_one_scores(tiny: Tiny, tmp_path: Path) -> None:
    """Which method comes first changes the order of the rows, never a raw importance."""
    first = analysed(tiny("llama"), tmp_path, out="first", importances=["taylor", "wanda"])
    second = analysed(tiny("llama"), tmp_path, out="second", importances=["wanda", "taylor"])
    assert np.array_equal(first.table.importance, first.table.importances["taylor"])
    assert second.table.digest == first.table.rescored("wanda", "mean").digest
    assert column(first, "taylor") == column(second, "taylor")
    assert column(first, "wanda") == column(second, "wanda")


@pytest.mark.parametrize(
    ("methods", "said", "expected"),
    [
        (["wanda", "taylor"], None, {"wanda": "mean"}),
        (["taylor", "magnitude"], None, {"magnitude": "mean"}),
        (["taylor", "wanda"], "rank", {"taylor": "rank", "wanda": "mean"}),
        (["wanda"], "none", {}),
    ],
    ids=["first", "second", "said", "none"],
)
def test_every_normaliser_is_recorded(
    tiny: Tiny, tmp_path: Path, methods: list[str], said: str | None, expected: dict[str, str]
) -> None:
    """A person's is of the first importance, by which the table is scored."""
    analysis = analysed(tiny("llama"), tmp_path, importances=methods, normaliser=said)
    assert analysis.record.normalisers == expected
    name = expected.get(methods[0], "none")
    assert analysis.table.metadata["globalprune.normaliser"] == name
    incomparable = {"wanda", "magnitude"} & set(methods)
    assert set(analysis.record.incomparable) == incomparable


def test_magnitude_alone_runs_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a sum over the weights, and no text could change it."""
    forwards: list[int] = []
    monkeypatch.setattr(LlamaModel, "forward", lambda *_, **__: forwards.append(1))
    analysis = analysed(tiny("llama"), tmp_path, importances=["magnitude"])
    assert not forwards
    assert "not needed" in (analysis.folder / "description.txt").read_text("utf-8")
    weights = measuring.loaded(tiny("llama")).state_dict()
    row = [weights[f"model.layers.2.mlp.{name}_proj.weight"][5] for name in ("gate", "up")]
    row.append(weights["model.layers.2.mlp.down_proj.weight"][:, 5])
    expected = sum(float(part.abs().sum()) for part in row)
    assert column(analysis, "magnitude")[2, 1, 5] == pytest.approx(expected)


def test_drawn_labels_act_on_all_gradients_and_are_recorded(tiny: Tiny, tmp_path: Path) -> None:
    """With the seed that repeats them; what needs no gradient stays as it was."""
    methods = ["fisher", "taylor", "wanda"]
    text = analysed(tiny("llama"), tmp_path, out="text", importances=methods, seed=3)
    drawn, again, other = (
        analysed(
            tiny("llama"),
            tmp_path,
            out=f"{number}",
            importances=methods,
            labels="sampled",
            seed=seed,
        )
        for number, seed in enumerate((3, 3, 4))
    )
    assert (text.record.labels, text.record.label_seed) == ("text", None)
    assert (drawn.record.labels, drawn.record.label_seed) == ("sampled", 3)
    assert text.record.identity != drawn.record.identity == again.record.identity
    for name in ("fisher", "taylor"):
        assert column(drawn, name) == column(again, name)
        assert column(drawn, name) != column(text, name)
        assert column(drawn, name) != column(other, name)
    assert column(drawn, "wanda") == column(text, "wanda")
    said = [(a.folder / "description.txt").read_text("utf-8") for a in (text, drawn)]
    losses = [line for lines in said for line in lines.splitlines() if line.startswith("loss on")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("layers", ["1:3", "3:", ":1"])
def test_only_the_layers_asked_for_are_in_the_table(
    tiny: Tiny, tmp_path: Path, layers: str
) -> None:
    """With the importances of a whole analysis; the record still knows the whole structure."""
    whole = analysed(tiny("llama"), tmp_path, out="whole", importances=["taylor"])
    part = analysed(tiny("llama"), tmp_path, out="part", layers=layers, importances=["taylor"])
    measured = range(*part.record.layers)
    expected = {key: value for key, value in column(whole, "taylor").items() if key[0] in measured}
    assert column(part, "taylor") == pytest.approx(expected, rel=1e-5)
    assert part.record.structure == whole.record.structure


def test_a_pruned_model_is_analysed_again(tmp_path: Path) -> None:
    """What an earlier cut left is worth what it is worth in the original with the rest silenced."""
    cut = uneven_cut("llama")
    save_uneven(tmp_path / "pruned", tiny_model("llama"), cut)
    masked(tiny_model("llama"), cut).save_pretrained(tmp_path / "masked")
    found = column(
        analysed(tmp_path / "pruned", tmp_path, out="after", importances=["taylor"]), "taylor"
    )
    original = column(
        analysed(tmp_path / "masked", tmp_path, out="before", importances=["taylor"]), "taylor"
    )

    expected: dict[tuple[int, int, int], float] = {}
    for layer in range(4):
        for code, kind in enumerate(GROUP_TYPES):
            stays = cut[layer].get(kind, range(24 if kind == "mlp" else 4))
            expected |= {
                (layer, code, new): original[layer, code, old] for new, old in enumerate(stays)
            }
    assert found == pytest.approx(expected, rel=1e-4)


def test_half_precision_is_measured_in_half_precision(tiny: Tiny, tmp_path: Path) -> None:
    """`--dtype` is honoured, and every group still has an importance."""
    plain = column(analysed(tiny("llama"), tmp_path, out="plain", importances=["taylor"]), "taylor")
    half = column(
        analysed(tiny("llama"), tmp_path, out="half", dtype="float16", importances=["taylor"]),
        "taylor",
    )
    assert half != plain
    assert half == pytest.approx(plain, rel=0.05)
    assert torch.tensor(list(half.values())).min() > 0
