"""Where a result may not go; each refusal comes before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from applying import applied, bytes_below, refuse_apply
from cutting import Removals, write_removals

from globalprune.errors import UsageError
from globalprune.models.checkpoints.output_folder import (
    copy_auxiliary_file,
    list_auxiliary_files,
    write_generation_config,
)

Tiny = Callable[[str], Path]


@pytest.fixture
def model(tiny: Tiny, tmp_path: Path) -> Path:
    """A model at work/models/tiny that a wrong -o could hurt."""
    return Path(shutil.copytree(tiny("llama"), tmp_path / "work" / "models" / "tiny"))


@pytest.fixture
def check(model: Path, tmp_path: Path) -> Callable[..., object]:
    """Ask whether a result may go to a place."""
    plan = write_removals(tmp_path / "plan.yaml", {0: {"mlp": [1]}})
    return lambda out, *, overwrite=False: refuse_apply(model, plan, out, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    ("place", "text"),
    [
        (".", "is the model itself; choose another folder"),
        ("smaller/one", r"lies inside the model's folder .*/models/tiny; choose another"),
        ("..", r"holds the model .*/models/tiny; choose another"),
        ("../..", r"holds the model .*/models/tiny; choose another"),
        ("../link", "is the model itself; choose another folder"),
        ("../link/inside", "lies inside the model's folder"),
    ],
)
def test_the_model_is_never_in_danger(
    model: Path, check: Callable[..., None], place: str, text: str, *, overwrite: bool
) -> None:
    """Whatever way leads there, and whatever was said."""
    (model.parent / "link").symlink_to(model, target_is_directory=True)
    before = bytes_below(model)
    with pytest.raises(UsageError, match=text):
        check(model / place, overwrite=overwrite)
    assert bytes_below(model) == before


def test_a_name_that_only_begins_alike_is_fine(model: Path, check: Callable[..., None]) -> None:
    """tiny-20 doesn't lie in tiny."""
    check(model.parent / "tiny-20")


def test_an_empty_folder_is_free(tmp_path: Path, check: Callable[..., None]) -> None:
    """A folder that was made for the result needs no flag."""
    (tmp_path / "made").mkdir()
    check(tmp_path / "made")


def test_a_file_is_no_folder(tmp_path: Path, check: Callable[..., None]) -> None:
    """Nor is it overwritten."""
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match=r"notes: is a file; name a folder with -o"):
        check(tmp_path / "notes", overwrite=True)


@pytest.mark.parametrize("file", ["thesis.tex", "globalprune/errors.py"], ids=["any", "our source"])
def test_a_strangers_folder_is_never_replaced(
    tmp_path: Path, check: Callable[..., None], file: str
) -> None:
    """Not even by `--overwrite`, and not even if a folder in it has our name."""
    place = tmp_path / "theirs" / file
    place.parent.mkdir(parents=True)
    place.write_text("work of years")
    with pytest.raises(UsageError, match=r"theirs: is not empty; choose another folder or say --o"):
        check(tmp_path / "theirs")
    with pytest.raises(UsageError, match=r"holds nothing that globalprune wrote .*choose another"):
        check(tmp_path / "theirs", overwrite=True)


def test_our_own_result_is_replaced_only_when_told(
    model: Path, tmp_path: Path, check: Callable[..., None]
) -> None:
    """The flag is for this."""
    out = Path(applied(model, tmp_path, {0: {"mlp": [1]}}).out)
    with pytest.raises(UsageError, match=r"out: is not empty; choose another folder or say --over"):
        check(out)
    check(out, overwrite=True)


class Usage(NamedTuple):
    """What `shutil.disk_usage` tells."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize("missing", [0, 1], ids=["just enough", "a byte short"])
def test_a_small_disk_is_noticed_before_the_work(
    model: Path,
    tmp_path: Path,
    check: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
) -> None:
    """The weights that the plan leaves must fit; the folder need not exist for the disk to."""
    asked: list[Path] = []
    (tmp_path / "made").mkdir()
    made = Path(applied(model, tmp_path / "made", {0: {"mlp": [1]}}).out)
    needed = (made / "model.safetensors").stat().st_size

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(10**9, 0, needed - missing)

    monkeypatch.setattr("globalprune.models.checkpoints.output_folder.shutil.disk_usage", usage)
    place = tmp_path / "not" / "yet"
    if missing:
        with pytest.raises(UsageError, match=r"the result takes 0\.00 GB and .* free; make room"):
            check(place)
    else:
        check(place)
    assert asked == [tmp_path]


def test_what_a_person_put_into_a_result_is_not_deleted(
    model: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    """A result can be replaced, and what lies in it since can't be made again."""
    out = Path(applied(model, tmp_path / "work", {0: {"mlp": [2]}}).out)
    check(out, overwrite=True)
    (out / "MY_NOTES.md").write_text("mine")
    (out / "adapter").mkdir()

    with pytest.raises(UsageError, match=r"didn't write \(MY_NOTES.md, adapter\), which --overwri"):
        check(out, overwrite=True)


def test_every_file_of_a_result_is_known_as_its_own(
    model: Path, check: Callable[..., None], tmp_path: Path
) -> None:
    """Uneven layers, licence, chat template and all: what apply wrote it may replace."""
    for name in ("LICENSE", "NOTICE.txt", "USE_POLICY.md", "chat_template.jinja", "vocab.json"):
        (model / name).write_text("x")
    gone: Removals = {0: {"attention": [0, 1, 2, 3]}, 1: {"mlp": [0, 5]}}
    out = Path(applied(model, tmp_path / "work", gone).out)

    assert (out / "modeling_globalprune.py").is_file()
    check(out, overwrite=True)


def test_a_result_is_as_open_as_the_umask_says(model: Path, tmp_path: Path) -> None:
    """A colleague can read the weights, as they can the rest."""
    out = Path(applied(model, tmp_path / "work", {0: {"mlp": [2]}}).out)
    modes = {path.name: path.stat().st_mode & 0o777 for path in out.iterdir() if path.is_file()}

    assert len(modes) > 3
    assert len(set(modes.values())) == 1, modes


TRAVEL = (
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "Notice.md",
    "USE_POLICY.md",
    "additional_chat_templates/tool_use.jinja",
    "chat_template.jinja",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
STAY = (
    "README.md",
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "optimizer.pt",
    "pytorch_model.bin",
    "modeling_llama.py",
    "tokenizer_custom.py",
    "tokenizer.bin",
    "tokenizer.pkl",
    "vocab.pickle",
    "training_args.bin",
    "globalprune/plan.yaml",
    "original/tokenizer.model",
    ".git/config",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all of these files, each holding its own name."""
    for name in (*TRAVEL, *STAY):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "model"


def test_what_belongs_to_the_model_travels_and_nothing_else(folder: Path) -> None:
    """Tokenizer, templates and licences; no code, no other weights, no pickle of any name."""
    assert list_auxiliary_files(folder) == tuple(sorted(TRAVEL))


def test_a_folder_named_like_a_companion_is_no_file(folder: Path) -> None:
    """A directory of tokenizer files would break the copy."""
    (folder / "tokenizer").mkdir()
    assert "tokenizer" not in list_auxiliary_files(folder)


def test_a_link_in_a_cache_becomes_a_file(folder: Path, tmp_path: Path) -> None:
    """The result must outlive the Hub's cache."""
    (folder / "tokenizer.json").rename(tmp_path / "blob")
    (folder / "tokenizer.json").symlink_to(tmp_path / "blob")
    for name in ("tokenizer.json", "additional_chat_templates/tool_use.jinja"):
        copy_auxiliary_file(folder, name, tmp_path / "out")
    copied = tmp_path / "out" / "tokenizer.json"
    assert not copied.is_symlink()
    assert copied.read_text() == "tokenizer.json"
    assert (tmp_path / "out" / "additional_chat_templates" / "tool_use.jinja").is_file()


def test_a_gguf_models_special_tokens_are_written(tmp_path: Path) -> None:
    """Only those that it has: a null would be read as a decision."""
    config = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": None, "hidden_size": 8}
    write_generation_config(config, tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written == {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 2}
