"""Figures in the front matter, as the Hub's own reader takes them."""

from dataclasses import replace
from typing import Any

import pytest
from cards import CUT, FACTS
from huggingface_hub import EvalResult, ModelCard
from records import comparison_of, judged, model_result, text_record

from globalprune.card.facts import CardFacts
from globalprune.card.model_card import model_card
from globalprune.card.records import ModelRecords

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
