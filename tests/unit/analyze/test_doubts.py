"""The warnings that an analysis records."""

from collections.abc import Callable
from pathlib import Path

import pytest
from analysing import analysed, write_ids
from tiny_models import random_ids

Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("methods", "warned"),
    [(["wanda", "taylor"], True), (["taylor", "wanda"], False)],
    ids=["scored by wanda", "wanda beside taylor"],
)
def test_a_table_scored_by_raw_wanda_warns(
    tiny: Tiny, tmp_path: Path, methods: list[str], *, warned: bool
) -> None:
    """Its scores don't compare between layers; as a second column it harms nobody."""
    analysis = analysed(tiny("llama"), tmp_path, importances=methods)
    warning = (
        "wanda is not comparable between layers: one ranking over all of them destroys a model; "
        "plan with another importance, or measure few layers (--layers)."
    )
    assert analysis.record.warnings == ((warning,) if warned else ())
    text = (analysis.folder / "description.txt").read_text()
    assert (f"warning: {warning}\n" in text) == warned


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
