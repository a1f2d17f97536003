"""metrics.json as a record that can grow by an evaluation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from applying import applied
from pydantic import ValidationError

from globalprune.apply.metrics_record import ApplyMetrics, add_evaluation


def test_an_evaluation_joins_what_is_there(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """Nothing else changes, and a second one takes the first one's place."""
    result = applied(tiny("llama"), tmp_path, {1: {"mlp": [0]}})
    path = Path(result.out) / "globalprune" / "metrics.json"
    before = ApplyMetrics.model_validate_json(path.read_text())
    for found in ({"perplexity": 3.0}, {"perplexity": 2.5}):
        add_evaluation(path, found)
        after = ApplyMetrics.model_validate_json(path.read_text())
        assert after == before.model_copy(update={"evaluation": found})
    assert {file.name for file in path.parent.iterdir() if file.suffix == ".part"} == set()


def test_a_record_of_another_version_is_not_touched(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """Rewriting it would drop what this version doesn't know."""
    result = applied(tiny("llama"), tmp_path, {1: {"mlp": [0]}})
    path = Path(result.out) / "globalprune" / "metrics.json"
    newer = path.read_text().replace("globalprune.metrics/1", "globalprune.metrics/2")
    path.write_text(newer)
    with pytest.raises(ValidationError, match=r"globalprune\.metrics/1"):
        add_evaluation(path, {})
    assert path.read_text() == newer
