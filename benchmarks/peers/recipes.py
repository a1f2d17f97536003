"""Every recipe of others by name, with its source: the file `<name>.py` beside this one prunes.

Nothing here loads torch. A recipe is `prune(subject, windows, need) -> int`: it takes at least
`need` parameters out of `subject.model`, in place, and gives how many it took.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Prune = Callable[[Any, Any, int], int]
PEERS: dict[str, str] = {
    "magnitude": "https://arxiv.org/abs/2312.11983",  # as the field's baseline: even over layers
    "magnitude_global": "https://arxiv.org/abs/2305.11627",  # the weakest row of every table
    "wanda_sp": "https://arxiv.org/abs/2312.11983",
    "wanda_sp_ls": "https://arxiv.org/abs/2602.23795",
    "wanda_sp_ls_sequential": "https://arxiv.org/abs/2602.23795",
    "flap": "https://arxiv.org/abs/2312.11983",
    "flap_ls": "https://arxiv.org/abs/2602.23795",
    "flap_ls_light": "https://arxiv.org/abs/2602.23795",
    "llm_pruner": "https://arxiv.org/abs/2305.11627",
    "shortgpt": "https://arxiv.org/abs/2403.03853",
    "obs_sequential_ls": "https://arxiv.org/abs/2412.18110",
    "obs_sequential_ls_floor": "https://arxiv.org/abs/2412.18110",
    "obs_sequential_ls_damped": "https://arxiv.org/abs/2412.18110",
    "torch_pruning_magnitude": "https://github.com/VainF/Torch-Pruning",
    "torch_pruning_taylor": "https://github.com/VainF/Torch-Pruning",
    "optipfair_weights": "https://github.com/peremartra/optipfair",
    "optipfair_data": "https://github.com/peremartra/optipfair",
}
READS_NO_TEXT = frozenset(  # for these one seed is as good as another
    {"magnitude", "magnitude_global", "torch_pruning_magnitude", "optipfair_weights"}
)
BUILDS_ON = {  # recipes whose files import another recipe's
    "wanda_sp_ls": ("wanda_sp",),
    "wanda_sp_ls_sequential": ("wanda_sp", "wanda_sp_ls"),
    "flap_ls": ("flap",),
    "flap_ls_light": ("flap", "flap_ls"),
    "obs_sequential_ls_floor": ("obs_sequential_ls",),
    "obs_sequential_ls_damped": ("obs_sequential_ls",),
    "torch_pruning_taylor": ("torch_pruning_magnitude", "llm_pruner"),
    "optipfair_data": ("optipfair_weights",),
}
SHARED = (  # files that every recipe's result depends on
    "subject.py",
    "allocation.py",
    "walk.py",
    "layer_stream.py",
    "front_to_back.py",
    "least_squares.py",
    "packages.py",
)


def peer_named(name: str) -> Prune:
    """Import a recipe's file, and torch with it."""
    prune: Prune = import_module(f"peers.{name}").prune
    return prune


def files_of(name: str) -> list[Path]:
    """The files whose change makes a recipe another one: its own, what it builds on, the shared."""
    here = Path(__file__).parent
    own = [name, *BUILDS_ON.get(name, ())]
    return [here / file for file in (*(f"{recipe}.py" for recipe in own), *SHARED)]
