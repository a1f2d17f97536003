"""plan.yaml, read with every problem at once and written so that no person's work is lost.

YAML 1.2 through ruamel.yaml. A generated plan may be replaced; an edited one, or a file that is no
plan, only when the caller says so.
"""

import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from globalprune.artifacts.groups import GROUP_TYPES, ModelStructure
from globalprune.artifacts.index_ranges import ALL, IndexRanges
from globalprune.artifacts.json_schemas import PLAN_SCHEMA_FILE, plan_schema
from globalprune.artifacts.plan_effect import effect_of
from globalprune.artifacts.plan_problems import shape_problems
from globalprune.artifacts.plan_ranges import range_problems
from globalprune.artifacts.plan_yaml import Problem, line_of, load_document
from globalprune.artifacts.provenance import refuse_impossible, write_atomically
from globalprune.artifacts.prune_plan import LayerPins, PrunePlan
from globalprune.errors import ArtifactError, PlanInvalid, PlanStale, UsageError

PLAN_FILE = "plan.yaml"
_SCHEMA_LINE = f"# yaml-language-server: $schema=./{PLAN_SCHEMA_FILE}"
_WIDTH = 96  # ruamel folds behind the word that crosses it
_STARTS = ("# as generated: ", "# as edited: ", "# as written: ")
_CONTINUES = "#   "
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")
_COMMENT = re.compile(r"(?:^|\s)#", re.MULTILINE)
_LAST = "`gp check --write` refreshes these lines after an edit"


def read_plan(path: Path, structure: ModelStructure | None = None) -> PrunePlan:
    """Read a plan; raise with all its problems, each with its line and what to do.

    With a `structure` the plan must also belong to it, and every index must exist in it.
    """
    document, problems = load_document(path)
    problems = problems + shape_problems(path, document)
    named = _named_structure(document)
    if structure is not None and named in (None, structure.fingerprint):
        problems = problems + range_problems(document, structure)
    _refuse(path, problems)
    plan = PrunePlan.model_validate(document)
    if structure is not None:
        if named not in (None, structure.fingerprint):
            source = plan.model.source if plan.model else "another model"
            raise PlanStale(
                f"{path}: was made for {source}, whose structure is {named}; this one has "
                f"{structure.fingerprint}. Use the model and the analysis that it was made from "
                "(a model that was cut has another structure), or make a plan for this one."
            )
        if effect_of(plan, structure).leaves_nothing:
            what = "the plan leaves no layer: every group of every layer goes; keep some of them."
            _refuse(path, [Problem(line_of(document, ("layers",)), what)])
    return plan


def write_plan(path: Path, plan: PrunePlan, *, header: Sequence[str], overwrite: bool) -> None:
    """Write the plan and, beside it, the schema that editors check it against.

    `header` says what the plan does; its first line starts with "as generated: ".
    """
    refuse_lost_work(path, overwrite=overwrite)
    schema = json.dumps(plan_schema(), indent=2) + "\n"
    beside = path.with_name(PLAN_SCHEMA_FILE)
    if not beside.is_file() or beside.read_bytes() != schema.encode():
        write_atomically(beside, schema)
    lines = [_SCHEMA_LINE, *_comment_lines(header)]
    write_atomically(path, "\n".join(lines) + "\n" + _dump(plan))


def refuse_lost_work(path: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` where a plan can't be written to `path`, or a person's work would go.

    What can't be read may hold pins, so that even `overwrite` doesn't replace it.
    """
    refuse_impossible(path)
    if not path.exists():
        return
    try:
        edited = is_edited(path)
    except ArtifactError as error:
        raise UsageError(
            f"{path}: is there and is no plan that can be read, so it isn't replaced; mend it, "
            f"remove it, or choose another name.\n{error}"
        ) from error
    if edited and not overwrite:
        raise UsageError(
            f"{path}: was edited by hand since gp plan wrote it; choose another name, or say "
            "--overwrite to replace it (its pins are kept, its edits and comments are lost)."
        )


def is_edited(path: Path) -> bool:
    """Whether a person changed a decision of the plan, or wrote comments; raise if it is none."""
    return read_plan(path).edited or _has_comments(path)


def refresh_header(path: Path, header: Sequence[str]) -> None:
    """Replace the generated comment lines; every other byte of the file stays as it is."""
    text = path.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    start, end = _generated_lines(lines)
    fresh = [line + newline for line in _comment_lines(header)]
    write_atomically(path, "".join([mark, *lines[:start], *fresh, *lines[end:]]).encode("utf-8"))


def _has_comments(path: Path) -> bool:
    """Whether a person wrote comments of their own."""
    lines = path.read_text("utf-8-sig").splitlines()
    start, end = _generated_lines(lines)
    others = "\n".join(line for line in lines[:start] + lines[end:] if line != _SCHEMA_LINE)
    return _COMMENT.search(_QUOTED.sub("", others)) is not None


def _named_structure(document: CommentedMap) -> str | None:
    """The fingerprint that the plan names, if it names one at all."""
    model = document.get("model")
    named = model.get("structure") if isinstance(model, dict) else None
    return named if isinstance(named, str) else None


def _refuse(path: Path, problems: Sequence[Problem]) -> None:
    """Raise `PlanInvalid` with all the problems in the order of their lines, if there are any."""
    if problems:
        ordered = sorted(dict.fromkeys(problems))
        raise PlanInvalid(str(path), [f"line {line}: {text}" for line, text in ordered])


def _comment_lines(header: Sequence[str]) -> list[str]:
    """The header as comments that `refresh_header` knows again, by their first and last words."""
    first, *more = header
    return [f"# {first}", *(_CONTINUES + line for line in (*more, _LAST))]


def _generated_lines(lines: Sequence[str]) -> tuple[int, int]:
    """Find (first, end) of the generated comment, or the empty place where it belongs."""
    for start, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(_STARTS):
            for end in range(start + 1, len(lines)):
                if lines[end].rstrip() == _CONTINUES + _LAST:
                    return start, end + 1
                if not lines[end].startswith(_CONTINUES):
                    return start, end
            return start, len(lines)
    after = 1 if lines and "yaml-language-server" in lines[0] else 0
    return after, after


def _dump(plan: PrunePlan) -> str:
    """Spell the plan as YAML: a layer a line, strings of ranges in quotes, `layers` last."""
    document = CommentedMap(plan.model_dump(mode="json", exclude_none=True))
    if plan.target:
        document["target"] = _flow(plan.target.model_dump(exclude_defaults=True))
    document["pin"] = CommentedMap((layer, _flow(_pins(pin))) for layer, pin in plan.pin.items())
    if not plan.pin:
        del document["pin"]
    layers = CommentedMap()
    for layer, cuts in plan.layers.items():
        halves = {kind: _ranges(cuts.of(kind)) for kind in GROUP_TYPES if cuts.of(kind)}
        layers[layer] = _flow(halves)
    document["layers"] = layers or _flow({})
    yaml = YAML()
    yaml.width = _WIDTH
    text = StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def _pins(pins: LayerPins) -> dict[str, Any]:
    """The wishes for a layer, without those that say nothing."""
    spelled: dict[str, Any] = {}
    for kind in GROUP_TYPES:
        half = pins.of(kind)
        said = {name: _ranges(getattr(half, name)) for name in ("keep", "remove")}
        wishes: dict[str, Any] = {name: ranges for name, ranges in said.items() if ranges}
        if half.width is not None:
            wishes["width"] = half.width
        if wishes:
            spelled[kind] = wishes
    return spelled


def _ranges(ranges: IndexRanges) -> str:
    """The indices as a person writes them; `all` needs no quotes."""
    text = str(ranges)
    return text if text in (ALL, "") else DoubleQuotedScalarString(text)


def _flow(value: Any) -> Any:
    """The value in {}, nested mappings too; long text stays on its line."""
    if not isinstance(value, dict):
        return value
    mapping = CommentedMap((key, _flow(inner)) for key, inner in value.items())
    mapping.fa.set_flow_style()
    return mapping
