"""GGUF files as MODEL: read as the model that they were made from, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf_files import FAMILIES, save_pair
from tiny_models import FAMILIES as ALL_FAMILIES
from tiny_models import MIXTURES, random_ids

from globalprune.errors import UnsupportedArchitecture
from globalprune.models.checkpoints.gguf_checkpoint import GGUF_FAMILIES
from globalprune.models.checkpoints.gguf_header import quantisation_of, quantisation_warnings
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.models.refusals import refuse_unprunable, refuse_unreadable
from globalprune.models.registry import ADAPTERS, adapter_for
from globalprune.models.sources.source import ModelSource

NOT_READ = {"granite", "olmo2", "phi3", "smollm3"}
IDS = random_ids(2, 24)
Write = Callable[[gguf.GGUFWriter], None]


def logits(model: Path) -> torch.Tensor:
    """What a model says."""
    with torch.no_grad():
        found: torch.Tensor = load_model(model)(IDS).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_the_folder_that_it_was_made_from(tmp_path: Path, family: str) -> None:
    """Same logits, same groups; float32 loses nothing and has nothing to note."""
    folder, file = save_pair(tmp_path / "model", family)
    refuse_unprunable(PreparedModel(file))
    torch.testing.assert_close(logits(file), logits(folder))
    ours, theirs = (open_checkpoint(ModelSource("", path)) for path in (file, folder))
    structures = [adapter_for(one.config).structure(one) for one in (ours, theirs)]
    assert structures[0].fingerprint == structures[1].fingerprint
    assert quantisation_of(ModelSource("", file)) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quantised_file_is_off_by_its_rounding_alone(tmp_path: Path, family: str) -> None:
    """Every number is within a step of Q8_0, and the note names the quantisation."""
    folder, file = save_pair(tmp_path / "model", family, "q8_0")
    ours, theirs = (open_checkpoint(ModelSource("m", path)) for path in (file, folder))
    for name in theirs.tensors:
        exact = theirs.read(name)
        step = float(exact.abs().max()) / 127
        torch.testing.assert_close(ours.read(name), exact, rtol=0, atol=step)
    [note] = quantisation_warnings(ours.source)
    assert note.startswith("m is a Q8_0 quantisation: whatever is measured or made here is of its")


def test_every_family_is_read_or_known_not_to_be() -> None:
    """A new family must be looked at: what transformers leaves out would go unnoticed."""
    read = {family.model_type for family in GGUF_FAMILIES.values()} | {"mistral"}  # as llama
    assert read | NOT_READ | MIXTURES.keys() == set(ADAPTERS)
    assert set(FAMILIES) | NOT_READ == {family for family in ALL_FAMILIES if "_" not in family}


def head(file: Path, architecture: str, write: Write, *names: str) -> str:
    """A GGUF file without a single number to speak of."""
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    write(writer)
    for name in names:
        shape = (2, 64) if name == "token_embd.weight" else (1,)
        writer.add_tensor(name, torch.zeros(shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(file)


def nothing(_: gguf.GGUFWriter) -> None:
    """No further key."""


REFUSED: dict[str, tuple[str, Write, tuple[str, ...], str]] = {
    "granite": ("granite", nothing, (), "architecture granite, which transformers doesn't read as"),
    "smollm3": ("smollm3", nothing, (), "architecture smollm3, which transformers doesn't read as"),
    "phi3": (
        "phi3",
        nothing,
        (),
        "architecture phi3, .* reads llama, qwen2, qwen3, gemma2, gemma3",
    ),
    "our uneven layers": ("deci", nothing, (), "architecture deci, .* as a folder or Hub id"),
    "a bias": ("llama", nothing, ("blk.0.attn_q.bias",), "tensor blk.0.attn_q.bias, which transf"),
    "rope factors": ("llama", nothing, ("rope_freqs.weight",), "has a tensor rope_freqs.weight"),
    "rope scaling": (
        "gemma3",
        lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR),
        (),
        "has linear rope scaling, which transformers leaves out",
    ),
    "narrow heads": (
        "qwen3",
        lambda writer: writer.add_key_length(64),
        (),
        "has heads of 64, where transformers takes 128",
    ),
    "another scale": ("gemma2", lambda w: w.add_key_length(128), (), "heads of 128, .* takes 256"),
    "another cap": (
        "gemma2",
        lambda writer: writer.add_final_logit_softcapping(20.0),
        (),
        "has final_logit_softcapping 20.0, where transformers takes 30.0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_become_another_model_is_refused(tmp_path: Path, name: str) -> None:
    """However it is read: transformers itself says nothing of what it leaves out."""
    architecture, write, tensors, message = REFUSED[name]
    file = head(tmp_path / "model.gguf", architecture, write, *tensors)
    readers: tuple[Callable[[str], Any], ...] = (
        lambda text: refuse_unprunable(PreparedModel(text)),
        lambda text: refuse_unreadable(PreparedModel(text)),
        load_model,
        lambda text: open_checkpoint(ModelSource(text, Path(text))),
    )
    for read in readers:
        with pytest.raises(UnsupportedArchitecture, match=message):
            read(file)


def test_another_architecture_is_no_family_of_ours(tmp_path: Path) -> None:
    """It may still be judged by gp eval, if transformers reads it."""
    names = "token_embd.weight", "blk.0.x"
    file = head(tmp_path / "model.gguf", "stablelm", lambda w: w.add_block_count(1), *names)
    refuse_unreadable(PreparedModel(file))
    with pytest.raises(
        UnsupportedArchitecture, match=r"'stablelm', .* can't cut; supported: llama,"
    ):
        refuse_unprunable(PreparedModel(file))


def test_a_file_of_the_same_name_is_not_mistaken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name is what transformers looks for in the working directory first."""
    folder, file = save_pair(tmp_path / "model", "llama")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / file.name).write_bytes(b"GGUF of something else")
    monkeypatch.chdir(elsewhere)
    torch.testing.assert_close(logits(file), logits(folder))
