"""Budgets and constraints as they are typed."""

import pytest

from globalprune.cli.plan_options import parse_budgets, parse_constraints
from globalprune.errors import UsageError


@pytest.mark.parametrize(
    ("name", "text", "amount"),
    [
        ("parameters", "6B", 6_000_000_000),
        ("parameters", "1.5M", 1_500_000),
        ("parameters", "300", 300),
        ("size", "12GB", 12_000_000_000),
        ("size", "1.5GiB", 1_610_612_736),
        ("size", "500 M", 500_000_000),
        ("kv_cache", "96KiB", 98_304),
        ("kv_cache", "40B", 40),
        ("flops", "10G", 10_000_000_000),
    ],
)
def test_amounts_have_units(name: str, text: str, amount: int) -> None:
    """A B is a billion parameters, and a byte of memory; Ki and its like are powers of two."""
    said = dict.fromkeys(("parameters", "size", "kv_cache", "flops")) | {name: text}
    assert getattr(parse_budgets(dtype=None, context=None, **said), name) == amount


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"parameters": "many"}, r"--params many: is not an amount; write it like 6B"),
        ({"size": "12 lbs"}, r"--size 12 lbs: is not an amount; write it like 12GB"),
        ({"kv_cache": "-1"}, r"--kv-cache -1: is not an amount; write it like 96KiB"),
        ({"flops": "1KiB"}, r"--flops 1KiB: is not an amount; write it like 10G"),
        ({"dtype": "int3"}, r"--dtype int3: should be 'float32', 'bfloat16'"),
        ({"context": -1}, r"--context -1: should be greater than or equal to 0"),
    ],
)
def test_what_is_no_budget_is_told_by_its_option(said: dict[str, str], message: str) -> None:
    """With what was typed, and what to type."""
    with pytest.raises(UsageError, match=message):
        parse_budgets(**({"dtype": None, "context": None} | said))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "layers"),
    [
        (["0,-1"], [0, 5]),
        (["1-3"], [1, 2, 3]),
        (["-2, 0"], [0, 4]),
        (["5"], [5]),
        (["0", "5", "1,2"], [0, 1, 2, 5]),
    ],
    ids=str,
)
def test_layers_are_counted_from_either_end(texts: list[str], layers: list[int]) -> None:
    """-1 is the last one; said again, they are all meant."""
    assert list(parse_constraints(6, protect_layers=texts).protect_layers) == layers


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"protect_layers": ["6"]},
            r"6 is not in the model, which has layers 0 to 5 \(or -6",
        ),
        ({"protect_layers": ["first"]}, r"--protect-layers first: 'first' is no layer"),
        ({"max_layer_ratio": 1.5}, r"--max-layer-ratio 1.5: should be less than or equal to 1"),
        ({"round_mlp": 0}, r"--round-mlp 0: should be greater than or equal to 1"),
        ({"only": "heads"}, r"--only heads: should be 'attention' or 'mlp'"),
        (
            {"only": "mlp", "attention_share": 0.5},
            r"--only and --attention-share can't be kept together; leave one out",
        ),
        ({"uniform": True, "whole_layers": True}, r"--uniform and --whole-layers can't be kept"),
    ],
)
def test_what_is_no_constraint_is_told_by_its_option(said: dict[str, object], message: str) -> None:
    """Clashes too."""
    with pytest.raises(UsageError, match=message):
        parse_constraints(6, **said)
