"""The real vLLM, in the Python that `make test-runtimes` makes for it: loads folders and goes on.

It wants an older transformers than globalprune's tests, and starts slowly: one process answers for
many folders. Weights and KV cache are float32 here, so that what differs is the fault of the cut.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from export_models import continue_in_transformers

ASK = Path(__file__).parent / "ask_vllm.py"
PYTHON = Path(__file__).parents[2] / ".venv-runtimes" / "bin" / "python"
CACHE = 1 << 30  # bytes of KV cache
_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class Question:
    """A folder, and what to go on with; text, so that vLLM's way to the tokenizer is used too."""

    folder: str
    prompts: tuple[str, ...]
    tokens: int
    trust: bool = True
    implementation: str = "auto"  # or "transformers", "vllm"


@dataclass(frozen=True)
class Answer:
    """What vLLM said; `error` is why it didn't load the folder."""

    model_class: str = ""
    cached_tokens: int = 0  # that CACHE bytes hold
    continued: tuple[tuple[list[int], list[int], list[float]], ...] = ()  # ids, tokens, values
    error: str | None = None


def ask_vllm(questions: Sequence[Question], work: Path) -> list[Answer]:
    """Answer every question in a fresh process; `work` is a folder for what is passed."""
    assert PYTHON.is_file(), f"{PYTHON} is missing; `make test-runtimes` makes it"
    asked, written = work / "questions.json", work / "answers.json"
    asked.write_text(json.dumps([asdict(question) for question in questions]), "utf-8")
    done = subprocess.run(
        [PYTHON, ASK, asked, written],
        cwd=work,
        env={**os.environ, **_SETTINGS, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return [Answer(**answer) for answer in json.loads(written.read_text("utf-8"))]


def furthest_from_transformers(question: Question, answer: Answer) -> float:
    """The largest difference of log-probabilities; every token must be transformers' own."""
    assert answer.error is None, answer.error
    differences = []
    for ids, tokens, values in answer.continued:
        expected, reference = continue_in_transformers(Path(question.folder), ids, question.tokens)
        assert tokens == expected
        differences += [abs(a - b) for a, b in zip(values, reference, strict=True)]
    return max(differences)
