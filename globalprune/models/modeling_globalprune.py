"""Language models whose layers differ in size, as globalprune saves them.

`Pruned<Name>` is the transformers class `<Name>` with every layer built from its own config:
`per_layer_config` gives the head counts and the MLP width of the layers that differ, in `skip` the
halves that are gone, and in `expert_widths` the width of every expert. The file travels in the
model's folder, so it needs only torch and transformers, and is short enough to read before trusting
it.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import nn
from transformers import conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

if not hasattr(transformers.PretrainedConfig, "per_layer_config"):
    raise ImportError(
        f"this model's layers differ in size, for which transformers {transformers.__version__} is "
        "too old; install 5.15 or newer."
    )

PREFIX = "Pruned"
Names = tuple[str, str, str]  # of the linear layers gate, up and down
GATED_NAMES: Names = ("gate_proj", "up_proj", "down_proj")
EXPERT_NAMES: dict[str, Names] = {"mixtral": ("w1", "w3", "w2")}  # where they are others
DIVIDES_LOGITS = "granite"  # its logits_scaling divides them; others multiply by such a key
_building = threading.RLock()  # two threads that swap the same class could leave it swapped


class EmptyProjection(nn.Linear):
    """What is left of a linear without inputs: its bias, under its old name.

    The weight `[out, 0]` is in no checkpoint; PEFT and casts of the dtype expect one.
    """

    bias: nn.Parameter

    def __init__(self, native: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = 0, native.out_features
        self.register_buffer("weight", native.weight.detach()[:, :0].clone(), persistent=False)
        self.bias = nn.Parameter(torch.zeros_like(native.bias))


class OutputBias(nn.Module):
    """The same in vLLM, whose own linears stand in for all others and can't be without inputs."""

    def __init__(self, native: nn.Linear) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros_like(native.bias))

    def forward(self, nothing: torch.Tensor) -> torch.Tensor:
        """Give the bias to every token of `nothing` `[…, 0]`."""
        return self.bias.expand(*nothing.shape[:-1], -1)


def _remnant(native: nn.Linear, config: Any) -> EmptyProjection | OutputBias | None:
    """Keep the bias of a half's last projection, if it has one."""
    in_vllm = config._attn_implementation == "vllm"  # noqa: SLF001
    kind = OutputBias if in_vllm else EmptyProjection
    return None if native.bias is None else kind(native)


def _output(projection: nn.Module | None, hidden_states: torch.Tensor) -> torch.Tensor:
    """Give what an emptied half adds to every token: its output bias, or nothing."""
    nothing = hidden_states[..., :0]
    if projection is None:
        # zeros that still hang on their input: what lies before gets a gradient, as DDP demands
        return nothing.sum(dim=-1, keepdim=True).expand_as(hidden_states)
    output: torch.Tensor = projection(nothing)
    return output


class NoAttention(nn.Module):
    """Stands where every attention group was cut."""

    attends: bool = False  # in no layer: it guards a call that is only there to be read

    def __init__(self, native: Any) -> None:
        super().__init__()
        self.config, self.layer_idx = native.config, native.layer_idx
        self.head_dim: int = native.head_dim
        self.is_causal = True
        self.o_proj = _remnant(native.o_proj, native.config)

    def forward(
        self, hidden_states: torch.Tensor, past_key_values: Any = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Give the output bias, if any, and tell the cache how many tokens went by."""
        if self.attends:
            # vLLM reads the source of every layer, and takes none in which attention isn't called
            attention = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]  # noqa: SLF001
            attention(self, hidden_states, hidden_states, hidden_states, None)
        if past_key_values is not None:
            # masks and positions follow the length of the first cache layer, which may be this one
            batch, length, _width = hidden_states.shape
            nothing = hidden_states.new_zeros(batch, 1, length, 1)
            past_key_values.update(nothing, nothing, self.layer_idx)
        return _output(self.o_proj, hidden_states), None


class NoMLP(nn.Module):
    """Stands where every MLP channel was cut."""

    def __init__(self, native: Any, config: Any) -> None:
        super().__init__()
        self.output_name = ""
        linears = [name for name, own in native.named_children() if isinstance(own, nn.Linear)]
        if linears and not hasattr(native, "experts"):  # a mixture has no output of its own
            name = linears[-1]  # down_proj, as most families call it
            remnant = _remnant(getattr(native, name), config)
            if remnant is not None:
                self.output_name = name
                self.add_module(name, remnant)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Give the output bias, if any."""
        return _output(getattr(self, self.output_name, None), hidden_states)


class Expert(nn.Module):
    """One of the gated MLPs that a router chooses among; its layers have their family's names."""

    def __init__(self, linears: Iterable[nn.Linear], names: Names, activation: nn.Module) -> None:
        super().__init__()
        self.names, self.act_fn = names, activation
        for name, linear in zip(names, linears, strict=True):
            self.add_module(name, linear)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Run tokens `[n, D]` through it."""
        gate, up, down = map(self.get_submodule, self.names)
        output: torch.Tensor = down(self.act_fn(gate(hidden_states)) * up(hidden_states))
        return output


class Experts(nn.ModuleDict):
    """The experts of a layer by their numbers, each as wide as it is; one of no width is left out.

    Stands where transformers has all weights in one tensor, which needs equal widths.
    """

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Add up what the chosen experts make of tokens `[n, D]`; choices are `[n, k]`."""
        output = torch.zeros_like(hidden_states)
        for number, expert in self.items():
            token, choice = torch.where(top_k_index == int(number))
            made = expert(hidden_states[token]) * top_k_weights[token, choice, None]
            output = output.index_add(0, token, made.to(output.dtype))
        return output


def expert_names(config: Any) -> Names:
    """What a family's checkpoints call an expert's linear layers."""
    return EXPERT_NAMES.get(config.model_type, GATED_NAMES)


def experts_as_cut(native: Any, config: Any) -> Experts:
    """Build empty experts, as wide as the layer's config says, in place of the native ones."""
    count, hidden, width = native.down_proj.shape
    names = expert_names(config)
    kind = {"bias": False, "device": native.down_proj.device, "dtype": native.down_proj.dtype}
    experts = {}
    for number, own in enumerate(getattr(config, "expert_widths", None) or [width] * count):
        shapes = ((hidden, own), (hidden, own), (own, hidden))
        if own:
            linears = [nn.Linear(inputs, outputs, **kind) for inputs, outputs in shapes]
            experts[str(number)] = Expert(linears, names, native.act_fn)
    return Experts(experts)


def _built_as_cut(layer_class: type) -> Callable[..., nn.Module]:
    """Wrap a decoder layer's class so that a model's own loop builds each layer as it was cut."""

    def build(config: Any, layer_idx: int, *args: Any, **kwargs: Any) -> nn.Module:
        own = config.per_layer_config[layer_idx]
        layer: nn.Module = layer_class(own, layer_idx, *args, **kwargs)
        skip = getattr(own, "skip", ())
        if "attention" in skip:
            layer.self_attn = NoAttention(layer.self_attn)
        if "mlp" in skip:
            layer.mlp = NoMLP(layer.mlp, own)
        elif hasattr(layer.mlp, "experts"):
            layer.mlp.experts = experts_as_cut(layer.mlp.experts, own)
        return layer

    return build


@contextmanager
def _uneven_layers(module: ModuleType) -> Iterator[None]:
    """While inside, the models that `module` defines build their layers as they were cut.

    Where layers have experts, the model below a head is of a class made here too: for any class of
    its own, transformers joins the stored weights of experts.
    """
    with _building:
        native = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
        ours: dict[str, Any] = {
            n: _built_as_cut(c) for n, c in native.items() if n.endswith("DecoderLayer")
        }
        if any(name.endswith("Experts") for name in native):
            ours |= {n: _pruned(n) for n, c in native.items() if _is_base(c, module)}
        vars(module).update(ours)
        try:
            yield
        finally:
            vars(module).update(native)


def _is_base(kind: type, module: ModuleType) -> bool:
    """Whether a class is a model without a head that `module` defines."""
    own = kind.__module__ == module.__name__ and issubclass(kind, transformers.PreTrainedModel)
    return (
        own
        and kind.__name__.endswith("Model")
        and not kind.__name__.endswith("PreTrainedModel")
        and hasattr(transformers, kind.__name__)
    )


def _pruned(name: str) -> Any:
    return getattr(sys.modules[__name__], PREFIX + name)


class PrunedModel:
    """Goes before a model class of transformers: no forward is rewritten, only layers are built."""

    config: Any
    native: Any

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        with _uneven_layers(sys.modules[self.native.__module__]):
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers reads the source of the module that defines the attention, which isn't this
        able: bool = cls.native._can_set_attn_implementation()  # noqa: SLF001
        return able

    def set_attn_implementation(self, *args: Any, **kwargs: Any) -> None:
        """Choose eager, sdpa and so on, also in the layers, which hold copies of the config."""
        super().set_attn_implementation(*args, **kwargs)  # type: ignore[misc]
        chosen = self.config._attn_implementation  # noqa: SLF001
        for module in self.modules():  # type: ignore[attr-defined]
            own: Any = getattr(module, "config", None)
            if type(own) is type(self.config):
                own._attn_implementation = chosen  # noqa: SLF001


class PrunedConfig:
    """Goes before a config class of transformers, whose validation reads the uncut sizes.

    The permission to read them isn't saved: so a load without this file, which would fill emptied
    halves with random weights, stops at the first size that differs between layers.
    """

    def __post_init__(self, **kwargs: Any) -> None:
        self.allow_global_per_layer_attribute_access = True
        super().__post_init__(**kwargs)  # type: ignore[misc]
        own: Any = self
        if own.model_type == DIVIDES_LOGITS:  # vLLM reads another name
            own.logit_scale = 1 / own.logits_scaling

    def _remove_keys_not_serialized(self, content: dict[str, Any]) -> None:
        content.pop("allow_global_per_layer_attribute_access", None)
        if content.get("model_type") == DIVIDES_LOGITS:
            content.pop("logit_scale", None)
        super()._remove_keys_not_serialized(content)  # type: ignore[misc]


def _keep_renamings(native: Any, name: str) -> None:
    """Load and save `Pruned<Name>` under the names that checkpoints of `<Name>` have.

    transformers leaves classes outside of itself alone; its other conversions put experts together.
    """
    if not name.endswith("ForCausalLM"):
        return
    known = conversion_mapping.get_checkpoint_conversion_mapping(native.config_class.model_type)
    renamings: list[Any] = [one for one in known or () if type(one) is WeightRenaming]
    if renamings:
        conversion_mapping.register_checkpoint_conversion_mapping(name, renamings, overwrite=True)


def __getattr__(name: str) -> Any:
    """Make `Pruned<Name>` of the transformers class `<Name>` when it is first asked for."""
    native: Any = None
    if name.startswith(PREFIX):
        native = getattr(transformers, name.removeprefix(PREFIX), None)
    if native is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    body = {"__module__": __name__, "__doc__": native.__doc__, "native": native}
    mixin: type = PrunedConfig
    auto = "AutoConfig"
    if not issubclass(native, transformers.PretrainedConfig):
        mixin = PrunedModel
        auto = "AutoModelForCausalLM" if name.endswith("ForCausalLM") else "AutoModel"
        body["config_class"] = _pruned(native.config_class.__name__)
    body["_auto_class"] = auto  # save_pretrained then takes this file along
    made = globals()[name] = type(name, (mixin, native), body)
    _keep_renamings(native, name)
    return made
