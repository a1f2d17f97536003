"""Every recipe of others, on families with and without biases and q/k norms."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peers.recipes import PEERS, files_of, peer_named
from recipe_subjects import logits_of, parameters_emptied, some_windows, subject_in

from globalprune.evaluation.resources import count_parameters

FAMILIES = ("llama", "qwen2", "qwen3", "llama_tied_bias")
PACKAGES = tuple(name for name in PEERS if name.startswith(("torch_pruning", "optipfair")))
CUTTING = (*PACKAGES, "shortgpt", "flap")  # what masks alone don't show, or not all of it
Tiny = Callable[[str], Path]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PEERS)
def test_a_recipe_takes_what_was_asked_and_hardly_more(tiny: Tiny, name: str, family: str) -> None:
    """At least the need goes, and less than a channel more, or what a recipe's own grain allows."""
    subject = subject_in(tiny(family))
    before = logits_of(subject, some_windows(seed=1))
    layers, need = subject.structure.layers, subject.structure.parameters // 11
    grain = {
        "shortgpt": max(layer.attention.prunable + layer.mlp.prunable + 1000 for layer in layers),
        "optipfair_weights": layers[0].mlp.cost * len(layers),
        "optipfair_data": layers[0].mlp.cost * len(layers),
    }.get(name, layers[0].mlp.cost)

    removed = peer_named(name)(subject, some_windows(), need)

    assert need <= removed < need + grain
    after = logits_of(subject, some_windows(seed=1))
    assert torch.isfinite(after).all()
    assert not torch.equal(after, before)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in PEERS if name not in CUTTING])
def test_the_number_is_that_of_the_emptied_groups(tiny: Tiny, name: str, family: str) -> None:
    """What a recipe says it took is what can be counted in the weights."""
    subject = subject_in(tiny(family))

    removed = peer_named(name)(subject, some_windows(), subject.structure.parameters // 11)

    assert removed == parameters_emptied(subject)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_packages_really_cut(tiny: Tiny, name: str) -> None:
    """A package's model has fewer parameters by just what is told, and attention is whole."""
    subject = subject_in(tiny("qwen3"))
    before = count_parameters(subject.model)
    attention = [site.linear for site in subject.sites if site.sublayer[1] == "attention"]
    shapes = [linear.weight.shape for linear in attention]

    removed = peer_named(name)(subject, some_windows(), before // 11)

    assert count_parameters(subject.model) == before - removed
    assert [linear.weight.shape for linear in attention] == shapes


def test_torch_pruning_is_asked_for_more_where_it_would_empty_a_layer(tiny: Tiny) -> None:
    """A layer that the package refuses to empty is made up for by the others."""
    subject = subject_in(tiny("llama"))
    mlp = subject.structure.layers[0].mlp
    with torch.no_grad():
        for site in subject.sites:
            if site.sublayer == (0, "mlp"):
                site.linear.weight.fill_(0.1)  # all alike: they go together
    wanted = (2 * mlp.groups + 5) * mlp.cost  # of four layers' channels

    removed = peer_named("torch_pruning_magnitude")(subject, some_windows(), wanted)

    assert removed == wanted
    assert subject.outputs[0, "mlp"].linear.in_features == mlp.groups


@pytest.mark.parametrize("name", PEERS)
def test_a_recipe_has_a_file_and_a_source(name: str) -> None:
    """The table's names are files, and its links are links."""
    assert PEERS[name].startswith("https://")
    assert all(path.is_file() for path in files_of(name))


@pytest.mark.parametrize("name", PEERS)
def test_a_recipe_knows_every_file_that_it_is_made_of(name: str) -> None:
    """A change in a file that it imports makes its figures old, however far away that file is."""
    known = {path.name for path in files_of(name)}
    (folder,) = {path.parent for path in files_of(name)}

    for file in known:
        tree = ast.parse((folder / file).read_text(encoding="utf-8"))
        imported = {
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        needed = {f"{module[6:]}.py" for module in imported if module.startswith("peers.")}
        assert needed <= known, file
