"""A model that is named once: what is read of it is read once, and only when it is asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from gguf_files import save_pair

from globalprune.errors import CheckpointError, ModelNotFound, UnsupportedArchitecture
from globalprune.models.checkpoints.identity import weights_fingerprint
from globalprune.models.checkpoints.safetensors_checkpoint import read_headers
from globalprune.models.prepared_model import PreparedModel

Tiny = Callable[[str], Path]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """A name alone is no error."""
    model = PreparedModel(tmp_path / "typo")
    assert str(model) == model.name == str(tmp_path / "typo")
    with pytest.raises(ModelNotFound, match="typo: no such file or folder"):
        _ = model.source


def test_everything_is_read_once(tiny: Tiny) -> None:
    """Whatever is asked for, however often."""
    model = PreparedModel(tiny("llama"))
    place = "globalprune.models.checkpoints.safetensors_checkpoint.read_headers"
    reading = mock.patch(place, wraps=read_headers)
    taking = mock.patch(
        "globalprune.models.prepared_model.weights_fingerprint", wraps=weights_fingerprint
    )
    with reading as headers, taking as fingerprints:
        for _ in range(2):
            assert model.structure.parameters == model.checkpoint.parameters
            assert model.identity() is model.identity()
            assert model.weights() != model.weights(full=True)
    assert headers.call_count == 1
    assert fingerprints.call_count == 2  # of sampled rows, and of every byte


def test_a_change_after_the_identity_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """By the name of the file."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    model = PreparedModel(folder)
    model.identity()
    model.refuse_changed()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    with pytest.raises(CheckpointError, match=r"changed while it was read \(config\.json\)"):
        model.refuse_changed()


def test_tokenizers_are_told_apart_by_what_decides_their_tokens(tiny: Tiny, tmp_path: Path) -> None:
    """Not by the sizes of the model beside them; a folder without one has no digest."""
    first = PreparedModel(tiny("llama")).tokenizer_digest
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 8}))
    assert PreparedModel(folder).tokenizer_digest == first
    words = folder / "tokenizer.json"
    words.write_text(words.read_text().replace("<unk>", "<gap>"))
    assert PreparedModel(folder).tokenizer_digest not in (None, first)
    words.unlink()
    assert PreparedModel(folder).tokenizer_digest is None


def test_weights_of_a_gguf_file_are_let_go_and_read_again(tmp_path: Path) -> None:
    """While the shapes and the fingerprint stay known."""
    _, file = save_pair(tmp_path / "model", "llama")
    model = PreparedModel(file)
    weights, structure = model.weights(), model.structure
    model.release_weights()
    assert (model.weights(), model.structure) == (weights, structure)
    name = next(iter(model.checkpoint.tensors))
    assert model.checkpoint.read(name).shape == model.checkpoint.tensors[name].shape


def test_another_family_has_no_adapter(tiny: Tiny, tmp_path: Path) -> None:
    """It can be opened, evaluated and finetuned all the same."""
    folder = Path(shutil.copytree(tiny("llama"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    model = PreparedModel(folder)
    assert model.vocab_size == 260
    with pytest.raises(UnsupportedArchitecture, match="'gpt2'"):
        _ = model.adapter
