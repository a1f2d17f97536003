"""README.md of a result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from applying import ALL_CHANNELS, applied
from ruamel.yaml import YAML

from globalprune.artifacts.results.metrics_record import ApplyMetrics, CutModel
from globalprune.card.facts import CardFacts
from globalprune.card.licences import Licence
from globalprune.card.model_card import model_card, naming_warning
from globalprune.card.records import ModelRecords

CUT = ApplyMetrics(
    model=CutModel(
        source="meta-llama/Meta-Llama-3-8B@main", revision="c0", structure="", weights=""
    ),
    plan="sha256:plan",
    parameters_before=1000,
    parameters_after=750,
    ratio=0.25,
    removed_groups={"attention": 2, "mlp": 1234},
    dropped_layers=(3, 5),
    layers=(),
    uneven=True,
    reason=None,
    weight_bytes=3000,
    weights="",
    seconds=1.0,
    command="gp apply /home/me/models/base --plan=/home/me/plan.yaml -o smaller",
    versions={},
    warnings=(),
)
FACTS = CardFacts(
    name="Llama-3-small",
    base="meta-llama/Meta-Llama-3-8B@main",
    base_is_on_hub=True,
    licence=Licence("llama3", None, (("license", "llama3"),)),
    licence_files=("LICENSE", "USE_POLICY.md"),
    uneven=True,
    records=ModelRecords(cut=CUT),
)


def matter_of(card: str) -> dict[str, Any]:
    """The front matter as the Hub parses it."""
    opening, matter, _ = card.split("---\n", 2)
    assert opening == ""
    loaded: dict[str, Any] = YAML(typ="safe").load(matter)
    return loaded


def test_the_front_matter_is_what_the_hub_reads() -> None:
    """The base model without its revision, the licence, and what the model is for."""
    assert matter_of(model_card(FACTS)) == {
        "base_model": "meta-llama/Meta-Llama-3-8B",
        "base_model_relation": "finetune",
        "license": "llama3",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruned", "globalprune"],
    }


def test_a_local_base_is_no_model_of_the_hub() -> None:
    """A folder's name in `base_model` would point at somebody else's model."""
    matter = matter_of(model_card(replace(FACTS, base="tiny", base_is_on_hub=False)))
    assert not {"base_model", "base_model_relation"} & matter.keys()


def test_the_figures_are_those_of_the_cut() -> None:
    """How much went, of what, and which layers."""
    card = model_card(FACTS)
    assert "250 of its 1,000 parameters (25.00%)" in card
    assert "750 are left" in card
    assert "- 2 attention groups" in card
    assert "- 1,234 MLP channels" in card
    assert "- 2 whole layers: 3, 5" in card


@pytest.mark.parametrize("uneven", [True, False], ids=["uneven", "native"])
def test_loading_asks_for_trust_only_where_it_must(*, uneven: bool) -> None:
    """A vanilla result loads with transformers alone; both know our loader, which runs no code."""
    card = model_card(replace(FACTS, uneven=uneven))
    assert ("trust_remote_code=True" in card) == uneven
    assert 'globalprune.load_model("Llama-3-small")' in card


def test_commands_tell_nothing_of_a_machine() -> None:
    """Absolute paths are shown by their last part; the records have the whole."""
    card = model_card(FACTS)
    assert "$ gp apply base --plan globalprune/plan.yaml -o smaller" in card
    assert "/home/me" not in card
    assert "- plan: `sha256:plan`" in card


def test_safety_was_not_looked_at_and_the_card_says_so() -> None:
    """Nobody may take the base model's evaluations for this model's."""
    assert "Safety and alignment were not evaluated again after the cut." in model_card(FACTS)


def test_llama_3_asks_for_a_notice_and_a_name() -> None:
    """The notice is displayed; a name that doesn't begin right is called out, a right one isn't."""
    assert "**Built with Meta Llama 3**" in model_card(FACTS)
    assert naming_warning(FACTS.licence, "Llama-3-small") is None
    assert "rename it" not in model_card(FACTS)
    card = model_card(replace(FACTS, name="small"))
    warning = naming_warning(FACTS.licence, "small")
    assert warning is not None
    assert f"**{warning}**" in card
    assert warning == (
        "small: the base model's licence (llama3) wants the name of a model made from it to begin "
        'with "Llama 3"; rename it before you pass it on.'
    )


def test_an_unknown_licence_is_not_passed_over() -> None:
    """The card tells whoever passes the model on to look it up."""
    card = model_card(replace(FACTS, licence=Licence(), licence_files=()))
    assert "could not be found beside its weights. Look it up" in card
    assert "license" not in matter_of(card)


@pytest.mark.parametrize("name", ["small", "Llama 3 small"], ids=["wrong name", "right name"])
def test_a_result_carries_its_licence(
    tiny: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Licence files are copied and listed, and a wrong name is also a warning of the run."""
    from shutil import copytree

    from globalprune.apply.executor import apply_plan

    base = Path(copytree(tiny("llama"), tmp_path / "base"))
    (base / "LICENSE").write_text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT")
    (base / "USE_POLICY.md").write_text("Be kind.")
    plan = Path(applied(base, tmp_path, {1: {"mlp": ALL_CHANNELS}}).out) / "globalprune/plan.yaml"
    result = apply_plan(str(base), plan, tmp_path / name)
    card = (tmp_path / name / "README.md").read_text()
    assert matter_of(card)["license"] == "llama3"
    assert "Copied from the base model: `LICENSE`, `USE_POLICY.md`." in card
    assert (tmp_path / name / "USE_POLICY.md").read_text() == "Be kind."
    assert len(result.warnings) == (name == "small")
    assert all('begin with "Llama 3"' in warning for warning in result.warnings)
