"""schemas/ is what the code writes, and what the code writes is what the schemas allow."""

import json
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from artifact_values import record_of, structure_of, table_of
from records import comparison_of, machine_record, model_result, speed_of
from ruamel.yaml import YAML

from globalprune.artifacts.analyses.analysis import write_analysis_record
from globalprune.artifacts.evaluations.evaluation_table import write_evaluation
from globalprune.artifacts.own_files import (
    ANALYSIS_SCHEMA_FILE,
    EVALUATION_SCHEMA_FILE,
    MACHINE_SCHEMA_FILE,
    schema_of,
    write_schemas,
)
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import PLAN_SCHEMA_FILE, write_plan
from globalprune.artifacts.records import write_record

SCHEMAS = Path(__file__).parents[2] / "schemas"
PLAN: dict[str, Any] = {
    "model": {"source": "tiny", "structure": "sha256:ab", "weights": "sha256:cd"},
    "analysis": {"path": ".", "table": "sha256:cd", "importance": "fisher"},
    "target": {"ratio": 0.2},
    "pin": {7: {"attention": {"keep": "0"}, "mlp": {"width": 1024, "remove": "all"}}},
    "generated": "sha256:ef",
    "layers": {0: {"mlp": "4, 17-31"}, 12: {"attention": "all", "mlp": "all"}},
}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_RULES: dict[str, Callable[[Any, Any], bool]] = {  # value, what the keyword says
    "type": lambda value, said: (
        isinstance(value, _TYPES[said]) and (said == "boolean" or not isinstance(value, bool))
    ),
    "const": operator.eq,
    "enum": lambda value, said: value in said,
    "required": lambda value, said: set(said) <= set(value),
    "pattern": lambda value, said: re.search(said, value) is not None,
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
    "minItems": lambda value, said: len(value) >= said,
    "maxItems": lambda value, said: len(value) <= said,
}
_WALKED = {"$ref", "properties", "additionalProperties", "items", "prefixItems", "anyOf"}
_SAYS_NOTHING = {"$schema", "$defs", "title", "description", "default"}
Schema = dict[str, Any]


def complaints(value: Any, schema: Schema, root: Schema) -> Iterator[str]:
    """Yield what the schema forbids; a keyword that isn't known here is an error."""
    unknown = schema.keys() - _RULES.keys() - _WALKED - _SAYS_NOTHING
    assert not unknown, f"this test must learn the keywords {unknown}"
    if "type" in schema and not _RULES["type"](value, schema["type"]):
        yield f"{value!r} is no {schema['type']}"
        return
    for keyword in schema.keys() & _RULES.keys():
        if not _RULES[keyword](value, schema[keyword]):
            yield f"{keyword} {schema[keyword]}: {value!r}"
    choices = schema.get("anyOf", ())
    if choices and all(list(complaints(value, choice, root)) for choice in choices):
        yield f"{value!r} is none of {choices}"
    for inner, inner_schema in _parts(value, schema, root):
        if inner_schema is False:
            yield f"{inner!r} has a name that is not allowed"
        elif inner_schema is not True:
            yield from complaints(inner, inner_schema, root)


def _parts(value: Any, schema: Schema, root: Schema) -> Iterator[tuple[Any, Any]]:
    """Yield every part of the value with the schema that speaks of it."""
    if "$ref" in schema:
        yield value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from ((inner, properties.get(name, others)) for name, inner in value.items())
    if isinstance(value, list):
        yield from ((inner, schema.get("items", True)) for inner in value)
        yield from zip(value, schema.get("prefixItems", ()), strict=False)


def refused(content: Any, schema: dict[str, Any]) -> list[str]:
    """What the schema says of a document, once it is JSON."""
    return list(complaints(json.loads(json.dumps(content)), schema, schema))


def test_the_schemas_in_the_tree_are_current(tmp_path: Path) -> None:
    """`make schemas` after any change of a record; no schema is left over or missing."""
    write_schemas(tmp_path)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in SCHEMAS.iterdir()}
    assert kept == fresh


@pytest.mark.parametrize("content", [PLAN, {"layers": {}}], ids=["full", "empty"])
def test_a_generated_plan_validates(tmp_path: Path, content: dict[str, Any]) -> None:
    """An editor that follows the plan's first line finds nothing to underline."""
    path = tmp_path / "plan.yaml"
    plan = PrunePlan.model_validate(content)
    write_plan(path, plan, header=["as generated: nothing"], overwrite=False)
    schema = json.loads((tmp_path / "plan.v1.schema.json").read_text())
    assert refused(YAML(typ="safe").load(path), schema) == []


def test_a_written_record_validates(tmp_path: Path) -> None:
    """With every field that an analysis fills."""
    structure = structure_of()
    path = tmp_path / "analysis.json"
    write_analysis_record(path, record_of(structure, table_of(structure)))
    assert refused(json.loads(path.read_text()), schema_of(ANALYSIS_SCHEMA_FILE)) == []


def test_a_written_evaluation_validates(tmp_path: Path) -> None:
    """With speeds, and with what could not be measured left out; a faulty one does not."""
    models = model_result(speed=speed_of(1.0, 2.0)), model_result(peak_memory_bytes=None)
    write_evaluation(tmp_path, comparison_of(*models))
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert refused(content, schema_of(EVALUATION_SCHEMA_FILE)) == []
    content["models"][0]["parameters"] = 0
    assert refused(content, schema_of(EVALUATION_SCHEMA_FILE)) == ["exclusiveMinimum 0: 0"]


def test_written_latencies_validate(tmp_path: Path) -> None:
    """Every point with its rounds; a token that took no time does not."""
    write_record(tmp_path / "machine.json", machine_record())
    content = json.loads((tmp_path / "machine.json").read_text())
    assert refused(content, schema_of(MACHINE_SCHEMA_FILE)) == []
    content["points"][0]["seconds_per_token"] = [0.0]
    assert refused(content, schema_of(MACHINE_SCHEMA_FILE)) == ["exclusiveMinimum 0: 0.0"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "globalprune.plan/2"},
        {"layer": {}},
        {"layers": {0: {"mpl": "1"}}},
        {"layers": {0: {"mlp": "1, x"}}},
        {"layers": {0: {"mlp": -1}}},
        {"layers": {0: {"mlp": None}}},
        {"layers": {0: None}},
        {"target": {"ratio": 1}},
        {"pin": {0: {"mlp": {"width": -1}}}},
        {"remove_empty_layers": "yes"},
    ],
    ids=str,
)
def test_what_gp_refuses_an_editor_underlines(change: dict[str, Any]) -> None:
    """The schema is as strict as the reader in all that a schema can say."""
    plan = {"format": "globalprune.plan/1", **PLAN}
    assert refused(plan, schema_of(PLAN_SCHEMA_FILE)) == []
    assert refused(plan | change, schema_of(PLAN_SCHEMA_FILE))


@pytest.mark.parametrize("missing", ["format", "layers"])
def test_format_and_layers_are_required(missing: str) -> None:
    """As they are by the reader."""
    plan = {"format": "globalprune.plan/1", **PLAN}
    del plan[missing]
    [complaint] = refused(plan, schema_of(PLAN_SCHEMA_FILE))
    assert complaint.startswith("required ['format', 'layers']")
