"""Spoiled texts: a message, exit code 2, and not a file left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import files_below, gp, refused

TEXTS: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("gone.txt", None, "gone.txt: there is no such file or folder"),
    "empty": ("a.txt", b"", r"a.txt: .*(no|0) "),
    "too short": ("a.txt", b"Too little.", "say a smaller --seq-len or give more text"),
    "not utf-8": ("a.txt", b"caf\xe9" * 99, "is not UTF-8"),
    "wrong suffix": ("a.pdf", b"%PDF", "`.pdf`, which names no kind of text"),
    "not json": ("a.jsonl", b'{"text": "a"}\n{oops\n', "line 2: is not JSON"),
    "no text": (
        "a.jsonl",
        b'{"content": "a"}\n',
        "no column `text` or `input_ids` or `messages`; found content",
    ),
    "text is null": ("a.jsonl", b'{"text": null}\n', "`text` is null, not a string"),
    "foreign ids": ("a.jsonl", b'{"input_ids": [1, 260]}\n', "id 260 is outside the model's voc"),
    "one token": ("a.jsonl", b'{"input_ids": [1]}\n', "a window needs 2"),
    "no parquet": ("a.parquet", b"PAR0", "can't be read as parquet"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_spoiled_texts(tiny: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """Analyze refuses the text, and leaves neither a folder nor a part of one."""
    file, content, message = TEXTS[name]
    if content is not None:
        (tmp_path / file).write_bytes(content)
    before = files_below(tmp_path)

    refused(gp("analyze", tiny("llama"), "-o", tmp_path / "a", "--data", tmp_path / file), message)
    assert files_below(tmp_path) == before
