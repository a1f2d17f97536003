"""What tells one cut from another."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from globalprune.artifacts.results.compensation import CompensationRequest
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.texts import text_digests


def test_all_that_decides_what_comes_out_is_in_its_identity(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    """A sweep keys its points by it, and gp apply and gp prune resume by it."""
    model = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    cutting = Cutting(str(model), tmp_path / "out")
    found = [
        cutting.identity(),
        replace(cutting, dtype="bfloat16").identity(),
        replace(cutting, compensation=CompensationRequest(seed=1)).identity(),
    ]
    assert replace(cutting, out=tmp_path / "other").identity() == found[0]
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps(content | {"more": 1}))
        found.append(cutting.identity())
    assert len({json.dumps(each) for each in found}) == len(found)


def test_texts_are_known_by_what_their_files_hold(tmp_path: Path) -> None:
    """Those from elsewhere by their names alone; a weight is no part of the text."""
    text = tmp_path / "text.txt"
    text.write_text("one")
    before = text_digests([str(text), f"{text}@0.5", "builtin", None])
    text.write_text("two")
    after = text_digests([str(text), "builtin"])
    assert before[str(text)] == before[f"{text}@0.5"] != after[str(text)]
    assert (before["builtin"], after["builtin"]) == (None, None)
