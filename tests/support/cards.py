"""A result of Llama 3 on the Hub, as its card would tell of it."""

from globalprune.artifacts.results.cut import ApplyMetrics, CutModel
from globalprune.card.facts import CardFacts, ModelRecords
from globalprune.card.licences import Licence

CUT = ApplyMetrics(
    model=CutModel(
        source="meta-llama/Meta-Llama-3-8B@main", revision="c0", structure="", weights=""
    ),
    plan="sha256:plan",
    parameters_before=1000,
    parameters_after=750,
    ratio=0.25,
    removed_groups={"attention": 2, "mlp": 1234},
    dropped_layers=(3, 5),
    layers=(),
    uneven=True,
    reason=None,
    weight_bytes=3000,
    weights="",
    seconds=1.0,
    command=("gp", "apply", "/home/me/models/base", "--plan=/home/me/plan.yaml", "-o", "smaller"),
    versions={},
    warnings=(),
)
FACTS = CardFacts(
    name="Llama-3-small",
    base="meta-llama/Meta-Llama-3-8B@main",
    base_is_on_hub=True,
    licence=Licence("llama3", None, (("license", "llama3"),)),
    licence_files=("LICENSE", "USE_POLICY.md"),
    uneven=True,
    records=ModelRecords(cut=CUT),
)
