"""Importances the slow way: every weight asks autograd for its gradient, one window at a time.

Written from the definitions alone. It shares no code with the package: which rows and columns make
a group is spelled out here again, so that a mistake there can't hide here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

Groups = dict[tuple[int, str, int], torch.Tensor]  # (layer, kind, index) -> a number


def slices(model: Any, layer: int, kind: str, group: int) -> Iterator[tuple[str, Any]]:
    """Yield each parameter of a group as its name and what of it the group owns; its output last.

    What a family fuses is one parameter, of which a group owns several blocks.
    """
    config = model.config
    if kind == "attention":
        size = config.head_dim
        queries = config.num_attention_heads // config.num_key_value_heads * size
        query_rows = slice(group * queries, (group + 1) * queries)
        key_rows = slice(group * size, (group + 1) * size)
        inputs = {"q_proj": query_rows, "k_proj": key_rows, "v_proj": key_rows}
        whole = {"q_proj": config.num_attention_heads * size}
        whole |= dict.fromkeys(("k_proj", "v_proj"), config.num_key_value_heads * size)
        output, columns, sublayer, fused = "o_proj", query_rows, "self_attn", "qkv_proj"
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
        whole = dict.fromkeys(inputs, width_of(model, layer))
        output, columns, sublayer, fused = "down_proj", row, "mlp", "gate_up_proj"
    names = dict(model.named_parameters())
    begin = 0
    for module, rows in inputs.items():
        for parameter in ("weight", "bias"):
            name = f"model.layers.{layer}.{sublayer}.{module}.{parameter}"
            if name in names:
                yield name, (rows,)
        together = f"model.layers.{layer}.{sublayer}.{fused}.weight"
        if together in names:
            yield together, (slice(begin + rows.start, begin + rows.stop),)
        begin += whole[module]
    yield f"model.layers.{layer}.{sublayer}.{output}.weight", (slice(None), columns)


def groups(model: Any) -> list[tuple[int, str, int]]:
    """Every group of the model; a norm over all heads leaves an attention none."""
    config = model.config
    found = []
    for layer in range(config.num_hidden_layers):
        experts = config.num_local_experts if is_mixture(model, layer) else 1
        norm = getattr(model.model.layers[layer].self_attn, "q_norm", None)
        coupled = norm is not None and norm.weight.numel() != config.head_dim
        counts = {
            "attention": 0 if coupled else config.num_key_value_heads,
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


def second_order(model: Any, rows: Sequence[torch.Tensor]) -> Groups:
    """Both terms."""
    first, second = first_order(model, rows), curvature(model, rows)
    return {key: first[key] + second[key] for key in first}


def gate_gradients(model: Any, rows: Sequence[torch.Tensor]) -> dict[Any, torch.Tensor]:
    """J of every group and window: Σ θ·g of the output's columns, g of the summed nll.

    Scaling a column scales what it multiplies: the same derivative, by way of the weights. Behind a
    norm it is the secant.
    """
    if has_norms_behind(model):
        return secants(model, rows)
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


def has_norms_behind(model: Any) -> bool:
    """Whether what a sublayer makes passes a norm before the stream takes it."""
    return hasattr(model.model.layers[0], "post_feedforward_layernorm")


def norm_and_output(model: Any, layer: int, kind: str) -> tuple[Any, Any]:
    """The norm behind a sublayer, and the projection in front of that."""
    below = model.model.layers[layer]
    if kind == "attention":
        return below.post_attention_layernorm, below.self_attn.o_proj
    return below.post_feedforward_layernorm, below.mlp.down_proj


def secants(model: Any, rows: Sequence[torch.Tensor]) -> dict[Any, torch.Tensor]:
    """Σ_t δ_t · [n(o_t) - n(o_t - W_u a_tu)] of every group and window, each by itself."""
    keys = groups(model)
    sublayers = dict.fromkeys(key[:2] for key in keys)
    found: dict[Any, list[torch.Tensor]] = {key: [] for key in keys}
    for row in rows:
        seen, handles = _seen_at_norms(model, sublayers)
        logits = model(input_ids=row[None]).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum")
        ends = [seen[sublayer]["behind"] for sublayer in sublayers]
        deltas = dict(zip(sublayers, torch.autograd.grad(nll, ends), strict=True))
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for key in keys:
                norm, output = norm_and_output(model, *key[:2])
                _, (_, columns) = list(slices(model, *key))[-1]
                own = seen[key[:2]]["a"][..., columns] @ output.weight[:, columns].T
                made = seen[key[:2]]["o"]
                lost = norm(made) - norm(made - own)
                found[key].append((deltas[key[:2]] * lost).sum())
    return {key: torch.stack(values) for key, values in found.items()}


def _seen_at_norms(model: Any, sublayers: Any) -> tuple[Any, list[Any]]:
    """Note a, o and what leaves the norm of every sublayer, when the model runs."""
    seen: dict[Any, dict[str, torch.Tensor]] = {sublayer: {} for sublayer in sublayers}
    handles = []
    for sublayer in sublayers:
        norm, output = norm_and_output(model, *sublayer)

        def at_output(_: Any, args: Any, made: torch.Tensor, sublayer: Any = sublayer) -> None:
            seen[sublayer] |= {"a": args[0].detach(), "o": made.detach()}

        def at_norm(_: Any, _args: Any, normed: torch.Tensor, sublayer: Any = sublayer) -> None:
            seen[sublayer]["behind"] = normed

        handles += [output.register_forward_hook(at_output), norm.register_forward_hook(at_norm)]
    return seen, handles


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
    """A_u · Σ |θ|, with what every group feeds forward kept until the end.

    A token that doesn't come to an expert is one of which its channels make nothing.
    """
    seen = entering(model, rows)
    tokens = sum(map(len, rows))
    importances = {}
    for key, total in magnitude(model).items():
        squares = [values.square().sum() / values.shape[1] for values in seen(key)]
        importances[key] = total * (torch.stack(squares).sum() / tokens).sqrt()
    return importances


def magnitude(model: Any) -> Groups:
    """Σ |θ|."""
    return _summed(model, {n: p.detach().abs() for n, p in model.named_parameters()})


def entering(model: Any, rows: Sequence[torch.Tensor]) -> Callable[[Any], list[torch.Tensor]]:
    """What a group feeds forward, by window: `[tokens, width]`, of an expert its own tokens."""
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, []).append(args[0].detach()[0])
        )
        for name, module in model.named_modules()
        if name.endswith(("o_proj", "down_proj"))
    ]
    handles += [
        module.register_forward_pre_hook(
            lambda module, args, name=name: seen.setdefault(name, []).append(
                _entering_experts(module, *args)
            )
        )
        for name, module in model.named_modules()
        if name.endswith("mlp.experts")
    ]
    for row in rows:
        model(input_ids=row[None])
    for handle in handles:
        handle.remove()

    def of_group(key: Any) -> list[torch.Tensor]:
        name, where = list(slices(model, *key))[-1]
        if name.endswith("experts.down_proj"):
            expert, _, channel = where
            return [values[:, expert, channel, None] for values in seen[name[: -len(".down_proj")]]]
        return [values[:, where[1]] for values in seen[name.removesuffix(".weight")]]

    return of_group


def _entering_experts(
    experts: Any, hidden: torch.Tensor, chosen: torch.Tensor, _weights: torch.Tensor
) -> torch.Tensor:
    """What enters every expert's down_proj, `[tokens, experts, width]`, zero where none came."""
    both = torch.einsum("td,efd->tef", hidden.detach(), experts.gate_up_proj.detach())
    gate, up = both.chunk(2, dim=-1)
    came = torch.zeros(both.shape[:2], dtype=hidden.dtype).scatter(1, chosen, 1)
    made: torch.Tensor = experts.act_fn(gate) * up * came[..., None]
    return made


def _summed(model: Any, terms: dict[str, torch.Tensor]) -> Groups:
    """Add up the terms of every group."""
    found: Groups = {}
    for key in groups(model):
        parts = [terms[name][where].sum() for name, where in slices(model, *key)]
        found[key] = torch.stack(parts).sum()
    return found
