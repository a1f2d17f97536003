"""The facts of a card: nothing of a machine, and no record that isn't one."""

from dataclasses import replace
from pathlib import Path

import pytest
from cards import CUT, FACTS

from globalprune.artifacts.records import write_record
from globalprune.card.facts import CardFacts, ModelRecords, gather_facts, licence_files, public_path


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/me/models/base", "base"),
        ("/home/me/models/base/", "base"),
        ("~/base", "base"),
        ("--plan=/home/me/plan.yaml", "--plan=plan.yaml"),
        ("models/base", "models/base"),
        ("/base", "base"),
        ("~", "~"),
        ("--ratio=0.2", "--ratio=0.2"),
        ("org/model@main", "org/model@main"),
    ],
)
def test_an_absolute_path_is_its_last_part(text: str, public: str) -> None:
    """In an option's value too; relative paths, ids and other words stay."""
    assert public_path(text) == public


@pytest.mark.parametrize(
    ("base", "base_id"),
    [
        ("org/model", "org/model"),
        ("org/model@v1", "org/model"),
        ("org/small-GGUF@main/small.Q4_K_M.gguf", "org/small-GGUF"),
        ("gpt2@main", "gpt2"),
    ],
)
def test_the_id_of_a_base_has_no_revision_and_no_file(base: str, base_id: str) -> None:
    """As the Hub wants it."""
    assert replace(FACTS, base=base).base_id == base_id


def test_a_command_of_several_phases_is_listed_once() -> None:
    """In the order in which they ran; a cut's own plan lies beside it."""
    cut = CUT.model_copy(update={"command": ("gp", "prune", "base")})
    assert replace(FACTS, records=ModelRecords(cut=cut)).commands == (("gp", "prune", "base"),)


def facts_in(folder: Path) -> CardFacts:
    """The facts of a result without a licence."""
    return gather_facts(folder, name="small", licence_from=None)


def test_records_are_read_and_damaged_ones_count_as_none(tmp_path: Path) -> None:
    """A local base is named by its folder, and one of the Hub as it was named."""
    own = tmp_path / "globalprune"
    own.mkdir()
    write_record(own / "metrics.json", CUT)
    assert facts_in(tmp_path).records.cut == CUT
    assert facts_in(tmp_path).base == "meta-llama/Meta-Llama-3-8B@main"
    local = CUT.model.model_copy(update={"source": "/home/me/base", "revision": None})
    write_record(own / "metrics.json", CUT.model_copy(update={"model": local}))
    assert (facts_in(tmp_path).base, facts_in(tmp_path).base_is_on_hub) == ("base", False)
    (own / "metrics.json").write_text("{", "utf-8")
    assert facts_in(tmp_path).records == ModelRecords()
    assert facts_in(tmp_path).base == "a model"


def test_files_with_a_licences_words_are_listed(tmp_path: Path) -> None:
    """By either spelling, in any case; folders aren't files."""
    for name in ("LICENSE", "licence.txt", "NOTICE", "USE_POLICY.md", "config.json"):
        (tmp_path / name).touch()
    (tmp_path / "licenses").mkdir()
    assert licence_files(tmp_path) == ("LICENSE", "NOTICE", "USE_POLICY.md", "licence.txt")
