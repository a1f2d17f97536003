"""The card's sections on the cut, and on how to repeat it."""

from dataclasses import replace

from cards import CUT, FACTS

from globalprune.card.facts import ModelRecords
from globalprune.card.model_card import model_card


def test_the_figures_are_those_of_the_cut() -> None:
    """How much went, of what, and which layers."""
    card = model_card(FACTS)
    assert "250 of its 1,000 parameters (25.00%)" in card
    assert "750 are left" in card
    assert "- 2 attention groups" in card
    assert "- 1,234 MLP channels" in card
    assert "- 2 whole layers: 3, 5" in card


def test_a_quantised_base_is_told_of() -> None:
    """What precision the base had lost, the result has lost."""
    told = "The base was a Q4_K_M quantisation. Its weights were dequantised"
    quantised = CUT.model_copy(
        update={"model": CUT.model.model_copy(update={"quantisation": "Q4_K_M"})}
    )
    assert told in model_card(replace(FACTS, records=ModelRecords(cut=quantised)))
    assert "quantisation" not in model_card(FACTS)


def test_commands_tell_nothing_of_a_machine() -> None:
    """Absolute paths are shown by their last part; the records have the whole."""
    card = model_card(FACTS)
    assert "$ gp apply base --plan globalprune/plan.yaml -o smaller" in card
    assert "/home/me" not in card
    assert "- plan: `sha256:plan`" in card
