"""What a result says of its cut: how large it was and is, how wide its layers are, and by what."""

from collections.abc import Iterator

from globalprune.artifacts.formatting import size
from globalprune.artifacts.results.metrics import ApplyMetrics
from globalprune.artifacts.structure import GROUP_TYPES, GroupType
from globalprune.report.content import Block, Facts, Part, Table, commands, warnings
from globalprune.report.depth_pictures import widths_picture
from globalprune.report.drawing import GROUPS
from globalprune.report.wording import duration, model_phrase, of_all, provenance


def cut_part(cut: ApplyMetrics, *, drawn_elsewhere: bool) -> Part:
    """The whole of it; `drawn_elsewhere` says that a plan's part draws what stays."""
    pictures = () if drawn_elsewhere else widths_picture(_widths(cut))
    blocks: list[Block] = [Facts(tuple(_facts(cut))), *warnings(cut.warnings), *pictures]
    blocks += [_table(cut), *commands(cut.command)]
    digests = {
        "weights of the base": cut.model.weights,
        "structure of the base": cut.model.structure,
        "plan": cut.plan,
        "weights after the cut": cut.weights,
    }
    blocks.append(provenance(digests, cut.versions))
    return Part("result", "What was cut", tuple(blocks))


def _facts(cut: ApplyMetrics) -> Iterator[tuple[str, str]]:
    """Yield what was, what is, and what became of the rest."""
    yield "cut out of", model_phrase(cut.model.source, cut.model.revision)
    if cut.model.quantisation is not None:
        yield "its file", f"a {cut.model.quantisation} quantisation, dequantised"
    if cut.first is not None:
        first = cut.begun_with
        yield "the first model", model_phrase(first.source, first.revision)
        yield "left of the first model", of_all(cut.parameters_after, first.parameters)
    yield "parameters before", f"{cut.parameters_before:,}"
    yield "parameters after", of_all(cut.parameters_after, cut.parameters_before)
    yield "ratio", f"{100 * cut.ratio:.2f} % of all parameters, in groups"
    yield "weights after the cut", size(cut.weight_bytes)
    for kind in GROUP_TYPES:
        yield f"{GROUPS[kind]} removed", f"{cut.removed_groups.get(kind, 0):,}"
    if cut.dropped_layers:
        yield "layers removed whole", ", ".join(map(str, cut.dropped_layers))
    if cut.repaired_modules is not None:
        yield "halves compensated", f"{cut.repaired_modules:,}"
    if cut.final_norm_refitted is not None:
        yield "final norm", "refitted" if cut.final_norm_refitted else "not refitted"
    yield "form", f"uneven: {cut.reason}" if cut.uneven and cut.reason else _form(cut)
    yield "took", duration(cut.seconds)


def _form(cut: ApplyMetrics) -> str:
    return "layers that differ" if cut.uneven else "layers that are all alike"


def _widths(cut: ApplyMetrics) -> dict[GroupType, dict[int, int]]:
    """How many groups every layer has, by its number in the original."""
    return {
        "attention": {one.origin_layer_idx: one.attention_groups for one in cut.layers},
        "mlp": {one.origin_layer_idx: one.mlp_channels for one in cut.layers},
    }


def _table(cut: ApplyMetrics) -> Table:
    """The widths of every layer of the result."""
    rows = tuple(
        (
            str(one.layer_idx),
            str(one.origin_layer_idx),
            f"{one.attention_groups:,}",
            f"{one.mlp_channels:,}",
        )
        for one in cut.layers
    )
    head = ("layer", "in the original", *GROUPS.values())
    return Table(head, rows, title="Widths of every layer")
