"""README.md of a result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from applying import ALL_CHANNELS, applied, apply_plan
from cards import CUT, FACTS
from huggingface_hub import EvalResult, ModelCard
from records import comparison_of, judged, model_result, text_record
from ruamel.yaml import YAML

from globalprune.card.facts import CardFacts, ModelRecords
from globalprune.card.licences import Licence
from globalprune.card.model_card import model_card, naming_warning


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


@pytest.mark.parametrize("uneven", [True, False], ids=["uneven", "native"])
def test_loading_asks_for_trust_only_where_it_must(*, uneven: bool) -> None:
    """A vanilla result loads with transformers alone; both know our loader, which runs no code."""
    card = model_card(replace(FACTS, uneven=uneven))
    assert ("trust_remote_code=True" in card) == uneven
    assert 'globalprune.load_model("Llama-3-small")' in card


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

    base = Path(copytree(tiny("llama"), tmp_path / "base"))
    (base / "LICENSE").write_text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT")
    (base / "USE_POLICY.md").write_text("Be kind.")
    plan = Path(applied(base, tmp_path, {1: {"mlp": ALL_CHANNELS}}).out) / "globalprune/plan.yaml"
    result = apply_plan(base, plan, tmp_path / name)
    card = (tmp_path / name / "README.md").read_text()
    assert matter_of(card)["license"] == "llama3"
    assert "Copied from the base model: `LICENSE`, `USE_POLICY.md`." in card
    assert (tmp_path / name / "USE_POLICY.md").read_text() == "Be kind."
    assert len(result.warnings) == (name == "small")
    assert all('begin with "Llama 3"' in warning for warning in result.warnings)


EVIL = "x`<img src=x onerror=alert(1)>`y\n# Injected [click](javascript:alert(2)) | $x$"


def test_no_name_is_markup_in_a_card() -> None:
    """Wherever a stranger's word stands: title, base, command, plan, loading, licence."""
    cut = CUT.model_copy(
        update={
            "model": CUT.model.model_copy(update={"source": EVIL, "quantisation": EVIL}),
            "plan": EVIL,
            "command": ("gp", "apply", EVIL, "--plan", EVIL),
        }
    )
    facts = replace(
        FACTS,
        name=EVIL,
        base=EVIL,
        base_is_on_hub=False,
        licence=Licence(EVIL),
        licence_files=(EVIL,),
        records=ModelRecords(cut=cut),
    )
    card = model_card(facts)

    assert "<img" not in card
    assert "\n# Injected" not in card
    outside_code = "".join(card.split("```")[::2])
    assert "[click]" not in outside_code
    assert r"\[click\]" in outside_code
    assert matter_of(card)["tags"] == ["pruned", "globalprune"]


OURS = CUT.model_copy(update={"weights": "sha256:ours"})


def judged_by(source: str, **text: Any) -> CardFacts:
    """A result that was judged beside its base by a text of that name."""
    base = model_result("base", weights="sha256:base")
    ours = model_result("small", weights="sha256:ours", perplexity=judged(21.0, 25.0, 23.0))
    evaluation = comparison_of(base, ours, text=text_record(source=source, **text))
    return replace(FACTS, records=ModelRecords(cut=OURS, evaluation=evaluation))


def results(facts: CardFacts) -> list[EvalResult]:
    """What huggingface_hub finds in the card."""
    data: Any = ModelCard(model_card(facts), ignore_metadata_errors=False).data
    return data.eval_results or []


def test_the_models_own_perplexity_is_there() -> None:
    """Not the base's; named by how it was measured."""
    facts = judged_by("/home/me/wiki.txt", seq_len=512, samples=1200)
    [found] = results(facts)
    evaluation = facts.records.evaluation
    assert evaluation is not None
    expected = evaluation.models[1].perplexity.value
    assert expected is not None
    assert found.metric_value == pytest.approx(expected, rel=1e-5)
    assert found.metric_value != pytest.approx(evaluation.models[0].perplexity.value)
    assert found.task_type == "text-generation"
    assert found.metric_type == "perplexity"
    dtype = evaluation.models[1].dtype
    assert found.metric_name == f"perplexity, 1,200 windows of 512 tokens, computed in {dtype}"


@pytest.mark.parametrize(
    ("source", "name", "kind", "config", "split"),
    [
        ("/home/me/wiki.txt", "wiki.txt", "wiki.txt", None, None),
        ("builtin", "the part of CPython's manual that calibration never sees", "builtin", None,
         None),
        ("org/texts:small:test", "org/texts:small:test", "org/texts", "small", "test"),
        ("org/texts:test", "org/texts:test", "org/texts", None, None),
        ("org/texts", "org/texts", "org/texts", None, None),
    ],
    ids=["file", "builtin", "Hub, all said", "Hub, one of the two", "Hub"],
)  # fmt: skip
def test_a_text_is_named_as_far_as_it_is_known(
    source: str, name: str, kind: str, config: str | None, split: str | None
) -> None:
    """No split is made up, and no path of this machine is told."""
    [found] = results(judged_by(source))
    assert (found.dataset_name, found.dataset_type) == (name, kind)
    assert (found.dataset_config, found.dataset_split) == (config, split)


def test_other_weights_figures_are_not_ours() -> None:
    """A record that judged something else says nothing of this model."""
    facts = judged_by("wiki.txt")
    other = OURS.model_copy(update={"weights": "sha256:other"})
    assert not results(replace(facts, records=replace(facts.records, cut=other)))


def test_without_an_evaluation_there_are_no_figures() -> None:
    """The Hub shows an empty index as a broken one."""
    assert "model-index" not in model_card(FACTS)
