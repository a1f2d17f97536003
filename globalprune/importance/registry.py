"""Every importance that there is, each with its paper in its own file."""

from collections.abc import Sequence

from globalprune.errors import UsageError
from globalprune.importance.fisher import Fisher
from globalprune.importance.fisher_winsorised import FisherWinsorised
from globalprune.importance.interface import Importance
from globalprune.importance.magnitude import Magnitude
from globalprune.importance.obs import Obs
from globalprune.importance.obs_measured import ObsMeasured
from globalprune.importance.taylor import Taylor
from globalprune.importance.taylor_2nd import TaylorSecondOrder
from globalprune.importance.wanda import Wanda

IMPORTANCES: dict[str, Importance] = {
    "taylor": Taylor(),  # https://arxiv.org/abs/1906.10771
    "taylor_2nd": TaylorSecondOrder(),  # https://arxiv.org/abs/2305.11627
    "fisher": Fisher(),  # https://arxiv.org/abs/1801.05787, https://arxiv.org/abs/2204.09656
    "fisher_winsorised": FisherWinsorised(),  # https://doi.org/10.1214/aoms/1177705900
    "obs": Obs(),  # https://arxiv.org/abs/2312.17244
    "obs_measured": ObsMeasured(),  # https://arxiv.org/abs/2312.17244, and trials
    "wanda": Wanda(),  # https://arxiv.org/abs/2306.11695
    "magnitude": Magnitude(),  # https://arxiv.org/abs/1608.08710
}
DEFAULT_IMPORTANCE = "fisher"


def importances_named(names: Sequence[str]) -> tuple[Importance, ...]:
    """The methods of these names, each once, in the order in which they were named."""
    unknown = [name for name in names if name not in IMPORTANCES]
    if unknown or not names:
        found = f"{', '.join(unknown)} is not known" if unknown else "no method is named"
        raise UsageError(f"--importance: {found}; there are {', '.join(IMPORTANCES)}.")
    return tuple(IMPORTANCES[name] for name in dict.fromkeys(names))
