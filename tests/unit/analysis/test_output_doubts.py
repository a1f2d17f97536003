"""The warnings that an analysis records."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analysing import analysed, write_ids
from tiny_models import random_ids

Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("methods", "normaliser", "warned"),
    [
        (["wanda", "taylor"], "none", True),
        (["wanda", "taylor"], None, False),
        (["taylor", "wanda"], "none", False),
    ],
    ids=["scored by wanda", "normalised", "wanda beside taylor"],
)
def test_a_table_scored_by_raw_wanda_warns(
    tiny: Tiny, tmp_path: Path, methods: list[str], normaliser: str | None, *, warned: bool
) -> None:
    """Its scores don't compare between layers; as a second column it harms nobody."""
    analysis = analysed(tiny("llama"), tmp_path, importances=methods, normaliser=normaliser)
    warning = (
        "wanda is not comparable between layers: one ranking over all of them destroys a model; "
        "plan with a normaliser or another importance, or measure few layers (--layers)."
    )
    assert analysis.record.warnings == ((warning,) if warned else ())
    text = (analysis.folder / "description.txt").read_text()
    assert (f"warning: {warning}\n" in text) == warned


@pytest.mark.parametrize(
    ("methods", "labels", "named"),
    [
        (["fisher", "taylor", "taylor_2nd"], "sampled", "taylor and taylor_2nd"),
        (["fisher", "wanda"], "sampled", None),
        (["taylor"], "text", None),
    ],
    ids=["first order", "no first order", "the text's own"],
)
def test_a_mean_gradient_of_drawn_labels_warns(
    tiny: Tiny, tmp_path: Path, methods: list[str], labels: str, named: str | None
) -> None:
    """It tends to zero, whatever a group is worth."""
    warnings = analysed(tiny("llama"), tmp_path, importances=methods, labels=labels).record.warnings
    warning = (
        f"{named} with --labels sampled: the mean gradient of labels that the model draws itself "
        "tends to zero, so its first order is noise; use fisher, or --labels text."
    )
    assert warnings == ((warning,) if named else ())


def test_a_single_window_warns_that_nothing_tells_how_sure_it_is(
    tiny: Tiny, tmp_path: Path
) -> None:
    """There is no figure then, neither a good one nor a bad one."""
    data = write_ids(tmp_path / "one.jsonl", [*random_ids(1, 12)])
    record = analysed(tiny("llama"), tmp_path, data=data).record
    assert record.reliability == {}
    [warning] = record.warnings
    assert warning == (
        "one window can't be halved, so nothing tells how sure its importances are; measure with "
        "more --samples."
    )


@pytest.mark.parametrize(("length", "warned"), [(256, False), (257, True)])
def test_windows_beyond_the_trained_positions_warn(
    tiny: Tiny, tmp_path: Path, length: int, *, warned: bool
) -> None:
    """The longest window counts, wherever it stands."""
    rows = [*random_ids(1, 4), *random_ids(1, length), *random_ids(1, 5)]
    data = write_ids(tmp_path / "rows.jsonl", rows)
    warnings = analysed(tiny("llama"), tmp_path, data=data).record.warnings
    warning = (
        f"windows of {length} tokens are longer than the 256 positions that the model was trained "
        "for; say a smaller --seq-len."
    )
    assert warnings == ((warning,) if warned else ())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trials_in_half_precision_are_doubted(tiny: Tiny, tmp_path: Path, dtype: str) -> None:
    """What a small removal costs is no more than what rounding does there."""
    analysis = analysed(tiny("llama"), tmp_path, importances=["obs_measured"], dtype=dtype)
    warning = (
        "obs_measured in bfloat16: what a trial measures is blurred by rounding, the more the less "
        "it removes; measure with --dtype float32 where that fits."
    )
    assert (warning in analysis.record.warnings) == (dtype == "bfloat16")


def test_an_attention_that_cannot_be_cut_is_told(tiny: Tiny, tmp_path: Path) -> None:
    """Its groups are in no table."""
    analysis = analysed(tiny("olmo2"), tmp_path)
    assert {kind for _, kind in analysis.table.sublayers} == {"mlp"}
    [warning] = analysis.record.warnings
    assert warning == (
        "the attention of this model can't be cut (its query and key norms span all heads, so that "
        "no head goes without changing others); only the other groups are measured."
    )
