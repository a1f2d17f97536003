"""The real llama.cpp, as a wheel carries it: loads a GGUF file, goes on with ids, cuts text.

Its KV cache is float32 here, so that what differs from transformers is the fault of the file. A
file that it can't take may end the process, so those that should fail are loaded in another one.
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xllamacpp

Continued = tuple[list[int], list[float]]  # tokens, and the log-probability of each


class LlamaCpp:
    """One loaded file, on one thread."""

    def __init__(self, file: Path) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(file)
        parameters.n_ctx = 256
        parameters.verbosity = 0
        parameters.warmup = False
        parameters.fit_params = False
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self._server = xllamacpp.Server(parameters)

    def go_on(self, ids: Sequence[int], tokens: int) -> Continued:
        """Decode greedily behind `ids`; fewer tokens if one of them ends the text."""
        request = {"prompt": list(ids), "temperature": 0, "logprobs": 1, "n_predict": tokens}
        answer: Any = self._server.handle_completions(request)
        steps = answer["choices"][0]["logprobs"]["content"]
        return [step["id"] for step in steps], [step["logprob"] for step in steps]

    def tokens_of(self, text: str, *, special: bool = True) -> list[int]:
        """Cut text into tokens, with whatever the tokenizer puts around it."""
        request = urllib.request.Request(  # noqa: S310
            f"{self._server.listening_address}/tokenize",
            json.dumps({"content": text, "add_special": True, "parse_special": special}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            tokens: list[int] = json.loads(answer.read())["tokens"]
        return tokens


def loads(file: Path) -> bool:
    """Whether another process can load the file."""
    code = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import llama_cpp, pathlib"
    code += f"; llama_cpp.LlamaCpp(pathlib.Path({str(file)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    return done.returncode == 0
