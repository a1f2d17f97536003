"""What later phases would refuse, and how texts are known."""

from pathlib import Path

from globalprune.pipeline.preflight import text_digests


def test_texts_are_known_by_what_their_files_hold(tmp_path: Path) -> None:
    """Those from elsewhere by their names alone; a weight is no part of the text."""
    text = tmp_path / "text.txt"
    text.write_text("one")
    before = text_digests([str(text), f"{text}@0.5", "builtin", None])
    text.write_text("two")
    after = text_digests([str(text), "builtin"])
    assert before[str(text)] == before[f"{text}@0.5"] != after[str(text)]
    assert (before["builtin"], after["builtin"]) == (None, None)
