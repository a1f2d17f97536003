"""Which items there are, and when an item is another one."""

from pathlib import Path

import pytest
from contest.question import (
    DENSE,
    Item,
    code_digest,
    content_digest,
    inputs_of,
    items_of,
    key_of,
    unknown_recipes,
)
from contest_parts import question_of


def test_the_dense_model_comes_first_and_recipes_without_text_run_once() -> None:
    """A second seed would only repeat them."""
    items = items_of(["flap", "magnitude"], [0.1, 0.2], [3, 4])

    assert items[0].recipe == DENSE
    assert [(i.recipe, i.ratio, i.seed) for i in items[1:]] == [
        ("flap", 0.1, 3), ("magnitude", 0.1, 3), ("flap", 0.2, 3), ("magnitude", 0.2, 3),
        ("flap", 0.1, 4), ("flap", 0.2, 4),
    ]  # fmt: skip


def test_a_typo_is_no_recipe() -> None:
    """Names of ours are spelled by rule, the others are in a table."""
    names = ["flap", "flop", "prune", "prune:fast", "analyze:fisher+compensate", "analyze:", "gp"]

    assert unknown_recipes(names) == ["flop", "analyze:", "gp"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["flap", "prune", DENSE])
def test_a_key_follows_what_the_figures_depend_on(tmp_path: Path, recipe: str) -> None:
    """Another seed, another setting or another text is another item; the same is the same."""
    text = tmp_path / "text.txt"
    text.write_text("one", encoding="utf-8")
    question = question_of(data=str(text))
    item = Item(recipe=recipe, ratio=0.2, seed=0)
    key = key_of(question, item, inputs_of(question))

    assert key == key_of(question, item, inputs_of(question))
    other_seed = item.model_copy(update={"seed": 1})
    assert key != key_of(question, other_seed, inputs_of(question))
    fewer = question.model_copy(update={"samples": 3})
    assert key != key_of(fewer, item, inputs_of(question))
    text.write_text("two", encoding="utf-8")
    assert key != key_of(question, item, inputs_of(question))


def test_a_folders_digest_is_that_of_its_files(tmp_path: Path) -> None:
    """A model written anew is another one; a name that is no path stands for itself."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    before = content_digest(str(tmp_path))
    weights.write_bytes(b"two")

    assert content_digest(str(tmp_path)) != before
    assert content_digest("builtin") == "builtin"


def test_only_what_code_does_is_digested(tmp_path: Path) -> None:
    """A comment or a docstring makes no figure old; a number does."""
    path = tmp_path / "recipe.py"
    path.write_text('"""Says one thing."""\n\n\ndef f() -> int:\n    """Say."""\n    return 1\n')
    before = code_digest([path])

    path.write_text('"""Another."""\ndef f() -> int:\n    """Told."""\n    return 1  # why\n')
    assert code_digest([path]) == before
    path.write_text("def f() -> int:\n    return 2\n")
    assert code_digest([path]) != before


def test_items_have_files_of_their_own() -> None:
    """No two recipes write the same part."""
    names = [Item(recipe=r, ratio=0.1, seed=0).name for r in ("prune", "prune:fast", "prune:best")]

    assert len(set(names)) == 3
    assert not any(letter in name for name in names for letter in ":+/ ")
