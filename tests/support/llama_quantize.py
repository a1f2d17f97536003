"""llama.cpp's own quantiser, which `llama-quantize` is a thin door to, and what it left in a file.

Python wheels of llama.cpp leave it out or want a newer C library than most machines have; the npm
package that `make test-runtimes` fetches has it. It runs in another process, because it ends the
process where it asserts.
"""

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf

FTYPES = {"Q4_0": 2, "Q4_K_M": 15}  # llama.h: llama_ftype
_LIBRARIES = Path("node_modules", "@node-llama-cpp", "linux-x64", "bins", "linux-x64")
_IN_ORDER = ("libggml-base*.so", "libggml.v*.so", "libllama.v*.so")  # each needs those before it


class _Parameters(ctypes.Structure):
    """The head of llama.h's llama_model_quantize_params, with more room behind it than it has."""

    _fields_ = (
        ("threads", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def library() -> Path:
    """The folder of llama.cpp's libraries."""
    folder = Path(__file__).parents[2] / ".venv-runtimes" / "quantiser" / _LIBRARIES
    assert folder.is_dir(), f"{folder} is missing; `make test-runtimes` fetches it"
    return folder


def quantised(file: Path, kind: str) -> Path:
    """Write the file anew in one of `FTYPES`, beside it."""
    out = file.with_suffix(f".{kind}.gguf")
    words = [str(library()), str(file), str(out), str(FTYPES[kind])]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def kinds_of(file: Path) -> Iterator[tuple[str, str]]:
    """Every matrix of a file, and the kind of its numbers."""
    for tensor in gguf.GGUFReader(file).tensors:
        if len(tensor.shape) > 1:
            yield tensor.name, tensor.tensor_type.name


def main(folder: str, file: str, out: str, ftype: str) -> int:
    """Call `llama_model_quantize`; 0 if it succeeded."""
    for pattern in _IN_ORDER:
        [path] = Path(folder).glob(pattern)
        llama: Any = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    llama.llama_model_quantize_default_params.restype = _Parameters
    parameters = llama.llama_model_quantize_default_params()
    parameters.threads, parameters.ftype = 1, int(ftype)
    code: int = llama.llama_model_quantize(file.encode(), out.encode(), ctypes.byref(parameters))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
