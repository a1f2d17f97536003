"""A file appears whole or not at all, says what the model is, and is refused before any work."""

import itertools
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from export_models import EVERY_KIND_OF_CUT, export_folder, save_cut
from gguf import GGUFReader
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from globalprune.errors import CheckpointError, UsageError
from globalprune.export.exporter import export_gguf
from globalprune.models.loading import load_model
from globalprune.models.quiet import quiet_peft


def keys_of(file: Path) -> dict[str, Any]:
    """Everything that the file says, but for its tokenizer."""
    fields = GGUFReader(file).fields.items()
    return {key: field.contents() for key, field in fields if not key.startswith("tokenizer.")}


def contents(file: Path) -> dict[str, Any]:
    """The numbers of every tensor."""
    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(file).tensors}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is cut unevenly; only read."""
    return save_cut(tmp_path_factory.mktemp("exporter") / "model", cut=EVERY_KIND_OF_CUT)


def test_a_file_says_what_the_model_is(folder: Path) -> None:
    """Sizes by layer, and explicit sizes of heads."""
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n", "utf-8")
    keys = keys_of(export_folder(folder, "f16").path)

    assert keys["general.name"] == "model"
    assert keys["general.license"] == "apache-2.0"
    assert keys["general.architecture"] == "deci"
    assert keys["general.file_type"] == 1
    assert keys["general.size_label"] == "118K"
    assert keys["deci.attention.head_count"] == [2, 2, 8, 4]
    assert keys["deci.attention.head_count_kv"] == [1, 1, 4, 2]
    assert keys["deci.feed_forward_length"] == [96, 13, 32, 64]
    assert keys["deci.attention.key_length"] == keys["deci.attention.value_length"] == 16
    assert keys["deci.rope.dimension_count"] == 16
    assert keys["deci.block_count"] == 4
    assert keys["deci.vocab_size"] == 320
    assert keys["deci.context_length"] == 256
    assert keys["deci.rope.freq_base"] == 10000
    assert keys["deci.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)


def test_what_was_written_is_told(folder: Path) -> None:
    """Bytes, zeros and what stays wide."""
    done = export_folder(folder, "q8_0")
    zeros = 64 * (2 * 3 * 16 + 3 * 32)

    assert done.document == {
        "path": str(done.path),
        "architecture": "deci",
        "dtype": "q8_0",
        "bytes": done.path.stat().st_size,
        "parameters": done.parameters,
        "padding": zeros,
        "padded": [{"layer": 0, "half": "attention"}, {"layer": 2, "half": "mlp"}],
        "notes": list(done.warnings),
    }
    assert done.warnings == (
        (
            "the attention of layer 0 and the MLP of layer 2: empty, which llama.cpp's deci can't "
            f"hold; gp export pads with zeros, {zeros:,} parameters."
        ),
        (
            "blk.1.ffn_down.weight: rows are no multiple of 32, so they stay f16; plan with --for "
            "llama.cpp to have all quantised."
        ),
    )


def test_a_layer_without_anything_is_told(tmp_path: Path) -> None:
    """It stands in the checkpoint and not in the file."""
    nothing = {2: {"attention": (), "mlp": ()}}
    done = export_folder(save_cut(tmp_path / "model", cut=nothing))

    assert keys_of(done.path)["llama.block_count"] == 3
    assert done.warnings == ("layer 2: nothing is left of it, so it isn't written.",)


def test_only_one_tensor_is_held_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is written before the next is read."""
    from globalprune.models.checkpoints.safetensors_checkpoint import SafetensorsCheckpoint

    events: list[str] = []
    read, write = SafetensorsCheckpoint.read, gguf.GGUFWriter.write_tensor_data

    def reading(self: Any, name: str) -> torch.Tensor:
        events.append("read")
        return read(self, name)

    def writing(self: Any, tensor: Any) -> None:
        events.append("write")
        write(self, tensor)

    monkeypatch.setattr(SafetensorsCheckpoint, "read", reading)
    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", writing)
    export_gguf(str(folder), tmp_path / "out.gguf")

    assert "read" in events
    assert all((a, b) != ("read", "read") for a, b in itertools.pairwise(events))


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    """Here a number that float16 doesn't reach, in the last tensor."""
    folder = save_cut(tmp_path / "model")
    done = export_folder(folder)
    before = done.path.read_bytes()
    stored = load_file(folder / "model.safetensors")
    stored["model.layers.3.mlp.down_proj.weight"][0, 0] = 1e6
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"blk\.3\.ffn_down\.weight: holds numbers beyond"):
        export_folder(folder, "f16")

    assert done.path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.gguf"}


def test_an_adapter_is_exported_merged(tmp_path: Path) -> None:
    """As peft merges it."""
    base = save_cut(tmp_path / "base")
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    with quiet_peft():
        model: Any = get_peft_model(load_model(base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "adapter")
    with quiet_peft():
        adapted_by_peft = PeftModel.from_pretrained(load_model(base), tmp_path / "adapter")
        adapted_by_peft.merge_and_unload().save_pretrained(tmp_path / "merged")
    for file in base.glob("tokenizer*"):
        (tmp_path / "merged" / file.name).write_bytes(file.read_bytes())
    adapted, merged, plain = (
        export_folder(tmp_path / name) for name in ("adapter", "merged", "base")
    )

    assert contents(adapted.path) == contents(merged.path) != contents(plain.path)
    assert keys_of(adapted.path)["general.name"] == "adapter"


def test_a_stored_head_that_differs_from_the_embedding_is_written(tmp_path: Path) -> None:
    """Whatever the config says: so transformers loads it."""
    folder = save_cut(tmp_path / "model", "qwen3")
    stored = load_file(folder / "model.safetensors")
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"] + 1
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})

    assert "output.weight" in contents(export_folder(folder).path)


@pytest.mark.parametrize(
    ("family", "cut", "shape", "message"),
    [
        ("mistral", {}, {"sliding_window": 16}, "no form of this mistral: its llama has no slidi"),
        ("mistral", EVERY_KIND_OF_CUT, {"sliding_window": 16}, "its deci has no sliding window"),
        (
            "qwen3",
            EVERY_KIND_OF_CUT,
            {"tie_word_embeddings": False},
            "plan with --uniform, or with --wh",
        ),
        ("qwen3", {}, {"attention_bias": True}, r"no bias on self_attn\.k_proj, self_attn\.o_pro"),
        ("llama", {}, {"hidden_act": "gelu"}, "its llama has no gelu"),
        (
            "llama",
            {},
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "its llama has no dynamic rope",
        ),
    ],
)
def test_what_has_no_form_is_refused_by_name(
    tmp_path: Path, family: str, cut: Any, shape: Any, message: str
) -> None:
    """Before anything is written, and with the way out where there is one."""
    folder = save_cut(tmp_path / "model", family, cut, **shape)
    with pytest.raises(UsageError, match=message):
        export_folder(folder)

    assert {path.name for path in tmp_path.iterdir()} == {"model"}
