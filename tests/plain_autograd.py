"""Importances the slow way: every weight asks autograd for its gradient, one window at a time.

Written from the definitions alone. It shares no code with the package: which rows and columns make
a group is spelled out here again, so that a mistake there can't hide here.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

Groups = dict[tuple[int, str, int], torch.Tensor]  # (layer, kind, index) -> a number


def slices(model: Any, layer: int, kind: str, group: int) -> Iterator[tuple[str, Any]]:
    """Yield each parameter of a group as its name and what of it the group owns."""
    config = model.config
    if kind == "attention":
        size = config.head_dim
        queries = config.num_attention_heads // config.num_key_value_heads * size
        query_rows = slice(group * queries, (group + 1) * queries)
        key_rows = slice(group * size, (group + 1) * size)
        inputs = {"q_proj": query_rows, "k_proj": key_rows, "v_proj": key_rows}
        output, columns, half = "o_proj", query_rows, "self_attn"
    elif is_mixture(model, layer):
        expert, channel = divmod(group, width_of(model, layer))
        where = f"model.layers.{layer}.mlp.experts"
        for begin in (0, width_of(model, layer)):  # gate's rows, and then up's
            yield f"{where}.gate_up_proj", (expert, begin + channel)
        yield f"{where}.down_proj", (expert, slice(None), channel)
        return
    else:
        row = slice(group, group + 1)
        inputs = {"gate_proj": row, "up_proj": row}
        output, columns, half = "down_proj", row, "mlp"
    names = dict(model.named_parameters())
    for module, rows in inputs.items():
        for parameter in ("weight", "bias"):
            name = f"model.layers.{layer}.{half}.{module}.{parameter}"
            if name in names:
                yield name, (rows,)
    yield f"model.layers.{layer}.{half}.{output}.weight", (slice(None), columns)


def groups(model: Any) -> list[tuple[int, str, int]]:
    """Every group of the model."""
    config = model.config
    found = []
    for layer in range(config.num_hidden_layers):
        experts = config.num_local_experts if is_mixture(model, layer) else 1
        counts = {
            "attention": config.num_key_value_heads,
            "mlp": width_of(model, layer) * experts,
        }
        found += [(layer, kind, index) for kind, n in counts.items() for index in range(n)]
    return found


def is_mixture(model: Any, layer: int) -> bool:
    """Whether a layer has experts."""
    return hasattr(model.model.layers[layer].mlp, "experts")


def width_of(model: Any, layer: int) -> int:
    """How many channels its MLP has, or each of its experts."""
    own = "moe_intermediate_size" if is_mixture(model, layer) else ""
    width: int = getattr(model.config, own, model.config.intermediate_size)
    return width


def window_gradients(model: Any, rows: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """g_s of every window: the gradient of its mean next-token cross-entropy."""
    parameters = dict(model.named_parameters())
    gradients = []
    for row in rows:
        logits = model(input_ids=row[None]).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, row[1:])
        found = torch.autograd.grad(loss, list(parameters.values()))
        gradients.append(dict(zip(parameters, found, strict=True)))
    return gradients


def first_order(model: Any, rows: Sequence[torch.Tensor]) -> Groups:
    """Σ |θ·ḡ|."""
    gradients = window_gradients(model, rows)
    mean = {name: sum(g[name] for g in gradients) / len(rows) for name in gradients[0]}
    terms = {n: (p.detach() * mean[n]).abs() for n, p in model.named_parameters()}
    return _summed(model, terms)


def curvature(model: Any, rows: Sequence[torch.Tensor]) -> Groups:
    """Σ ½ |θ²·h| with h = (1/N) Σ_s T_s g_s²."""
    gradients = window_gradients(model, rows)
    terms = {}
    for name, parameter in model.named_parameters():
        weighted = [(len(row) - 1) * g[name] ** 2 for row, g in zip(rows, gradients, strict=True)]
        h = torch.stack(weighted).sum(dim=0) / len(rows)
        terms[name] = 0.5 * (parameter.detach() ** 2 * h).abs()
    return _summed(model, terms)


def gate_gradients(model: Any, rows: Sequence[torch.Tensor]) -> dict[Any, torch.Tensor]:
    """J of every group and window: Σ θ·g of the output's columns, g of the summed nll.

    Scaling a column scales what it multiplies: the same derivative, by way of the weights.
    """
    gradients = window_gradients(model, rows)
    parameters = dict(model.named_parameters())
    found = {}
    for key in groups(model):
        name, where = list(slices(model, *key))[-1]
        found[key] = torch.stack(
            [
                (len(row) - 1) * (parameters[name].detach() * g[name])[where].sum()
                for row, g in zip(rows, gradients, strict=True)
            ]
        )
    return found


def fisher(model: Any, rows: Sequence[torch.Tensor]) -> Groups:
    """½ · Σ_s J² / Σ_s T_s."""
    predicted = sum(len(row) - 1 for row in rows)
    return {key: j.square().sum() / 2 / predicted for key, j in gate_gradients(model, rows).items()}


def fisher_winsorised(model: Any, rows: Sequence[torch.Tensor], at_cap: int) -> Groups:
    """The same, J / √T_s of the `at_cap` largest windows of each group lowered to the last's."""
    lengths = torch.tensor([len(row) - 1 for row in rows])
    found: Groups = {}
    for key, j in gate_gradients(model, rows).items():
        typical = sorted((abs(j) / lengths.sqrt()).tolist(), reverse=True)
        clipped = [min(value, typical[at_cap - 1]) for value in (abs(j) / lengths.sqrt()).tolist()]
        squares = [value**2 * int(length) for value, length in zip(clipped, lengths, strict=True)]
        found[key] = torch.tensor(sum(squares) / 2 / int(lengths.sum()))
    return found


def wanda(model: Any, rows: Sequence[torch.Tensor]) -> Groups:
    """A_u · Σ |θ|, with every input of o_proj and down_proj kept until the end."""
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, []).append(args[0].detach()[0])
        )
        for name, module in model.named_modules()
        if name.endswith(("o_proj", "down_proj"))
    ]
    for row in rows:
        model(input_ids=row[None])
    for handle in handles:
        handle.remove()
    weights = _summed(model, {n: p.detach().abs() for n, p in model.named_parameters()})
    importances = {}
    for key, total in weights.items():
        name, (_, columns) = list(slices(model, *key))[-1]
        inputs = torch.cat(seen[name.removesuffix(".weight")])[:, columns]
        importances[key] = total * inputs.square().mean().sqrt()
    return importances


def _summed(model: Any, terms: dict[str, torch.Tensor]) -> Groups:
    """Add up the terms of every group."""
    found: Groups = {}
    for key in groups(model):
        parts = [terms[name][where].sum() for name, where in slices(model, *key)]
        found[key] = torch.stack(parts).sum()
    return found
