"""plan.yaml on disk: read with every problem at once, written without losing hand edits.

A generated plan may be replaced, an edited one only when the caller says so, and a file that is no
plan never. The comment at the top is written, recognised and refreshed here.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from globalprune.artifacts.disk import refuse_unwritable_file, write_atomically
from globalprune.artifacts.plans.plan import AnalysisReference, PrunePlan
from globalprune.artifacts.plans.plan_validation import (
    range_problems,
    refuse_other_format,
    shape_problems,
)
from globalprune.artifacts.plans.plan_yaml import Problem, format_plan, load_document
from globalprune.artifacts.schemas import PLAN_SCHEMA_FILE, schema_of
from globalprune.artifacts.staging import updated_folder
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import ArtifactError, PlanInvalid, PlanStale, UsageError

SCHEMA_LINE = f"# yaml-language-server: $schema=./{PLAN_SCHEMA_FILE}"
_CONTINUES = "#   "
_LAST = "`gp check --write` refreshes these lines after an edit"
_GENERATED = re.compile(  # a line of ours, by its first words; whatever else stands there is not
    r"# as (generated|edited|written): removes "
    r"|#   (leaves (at most )?[\d,]+ (parameters|bytes of|FLOPs a)|importance lost: "
    r"|doubted: the plan of |keeps \S+ %; any (cut as large|plan of) "
    rf"|any (cut as large|plan of this size) |{re.escape(_LAST)})"
)
_QUOTED = r"""(?<![^\s\[{,:])(?:"(?:\\.|[^"\\])*"|'(?:[^']|'')*')"""  # where a value begins
_COMMENT = re.compile(rf"{_QUOTED}|(?:^|\s)(#)", re.MULTILINE)


def comment_lines(header: Sequence[str]) -> list[str]:
    """The header as comments that are known again by their first and last words."""
    first, *more = header
    return [f"# {first}", *(_CONTINUES + line for line in (*more, _LAST))]


def refresh_header(path: Path, header: Sequence[str]) -> None:
    """Replace the generated comment lines; every other byte of the file stays as it is."""
    text = path.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    ours = _generated_lines(lines)
    place = ours[0] if ours else _place(lines)
    fresh = [line + newline for line in comment_lines(header)]
    others = [line for at, line in enumerate(lines) if at not in ours]
    text = "".join([mark, *others[:place], *fresh, *others[place:]])
    write_atomically(path, text.encode("utf-8"))


def has_comments(path: Path) -> bool:
    """Whether a person wrote comments of their own."""
    lines = path.read_text("utf-8-sig").splitlines()
    ours = _generated_lines(lines)
    others = [line for at, line in enumerate(lines) if at not in ours and line != SCHEMA_LINE]
    return any(found[1] for found in _COMMENT.finditer("\n".join(others)))


def _generated_lines(lines: Sequence[str]) -> list[int]:
    """Find the lines of the generated comment; a person's may stand among them."""
    found = []
    for at, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith(("#", "---")):
            break
        if _GENERATED.match(line):
            found.append(at)
        if line.rstrip() == _CONTINUES + _LAST:
            break
    return found


def _place(lines: Sequence[str]) -> int:
    """Where the generated comment belongs that a person took out."""
    return 1 if lines and "yaml-language-server" in lines[0] else 0


PLAN_FILE = "plan.yaml"


@dataclass(frozen=True)
class PlanDocument:
    """A file that says it is a plan, parsed and not yet judged."""

    path: Path
    document: CommentedMap
    repeated: Sequence[Problem]

    @property
    def analysis(self) -> AnalysisReference | None:
        """The analysis that it names, whatever else may be wrong with it."""
        try:
            return AnalysisReference.model_validate(self.document.get("analysis"))
        except ValidationError:
            return None

    def plan(self, structure: ModelStructure | None = None) -> PrunePlan:
        """The plan, judged as `read_plan` says."""
        problems = [*self.repeated, *shape_problems(self.document)]
        named = _named_structure(self.document)
        if structure is not None and named in (None, structure.fingerprint):
            problems += range_problems(self.document, structure)
        _refuse(self.path, problems)
        plan = PrunePlan.model_validate(self.document)
        if structure is not None and named not in (None, structure.fingerprint):
            source = plan.model.source if plan.model else "another model"
            raise PlanStale(
                f"{self.path}: was made for {source}, whose structure is {named}; this one has "
                f"{structure.fingerprint}. Use the model and the analysis that it was made from "
                "(a model that was cut has another structure), or make a plan for this one."
            )
        return plan


@dataclass(frozen=True)
class PlanFile:
    """A plan that was read, and its file as a person wrote it."""

    path: Path
    content: bytes
    plan: PrunePlan

    @property
    def folder(self) -> Path:
        """What the plan's own paths are relative to."""
        return self.path.resolve().parent


def open_plan(path: Path) -> PlanDocument:
    """Parse a plan; raise where it is no YAML, or of another format."""
    document, repeated = load_document(path)
    refuse_other_format(path, document)
    return PlanDocument(path, document, repeated)


def read_plan(path: Path, structure: ModelStructure | None = None) -> PrunePlan:
    """Read a plan; raise with all its problems, each with its line and what to do.

    With a `structure` the plan must also belong to it, and every index must exist in it.
    """
    return read_plan_file(path, structure).plan


def read_plan_file(path: Path, structure: ModelStructure | None = None) -> PlanFile:
    """Read a plan as `read_plan` does, and keep what its file holds beside it."""
    plan = open_plan(path).plan(structure)
    return PlanFile(path, path.read_bytes(), plan)


@dataclass(frozen=True)
class ExistingPlan:
    """A plan that is there already."""

    plan: PrunePlan
    edited: bool  # a person changed a decision, or wrote comments


def write_plan(path: Path, plan: PrunePlan, *, header: Sequence[str], overwrite: bool) -> None:
    """Write the plan and, beside it, the schema that editors check it against.

    `header` says what the plan does; its first line starts with "as generated: ".
    """
    existing_plan(path, overwrite=overwrite)
    replace_plans([Draft(path, plan, header)])


@dataclass(frozen=True)
class Draft:
    """A plan that is to be written, and what its header says."""

    path: Path
    plan: PrunePlan
    header: Sequence[str]

    @property
    def text(self) -> str:
        """The whole file."""
        return "\n".join([SCHEMA_LINE, *comment_lines(self.header)]) + "\n" + format_plan(self.plan)


def replace_plans(drafts: Sequence[Draft]) -> None:
    """Write plans, whatever stands there: for who knows from `existing_plan` that it may go.

    Several of one folder appear together; a link is followed, and stays.
    """
    schema = json.dumps(schema_of(PLAN_SCHEMA_FILE), indent=2) + "\n"
    folders = {draft.path.parent for draft in drafts}
    if len(folders) == 1 < len(drafts) and not any(draft.path.is_symlink() for draft in drafts):
        names = {draft.path.name: draft.text for draft in drafts} | {PLAN_SCHEMA_FILE: schema}
        with updated_folder(folders.pop(), names) as new:
            for name, text in names.items():
                (new / name).write_text(text, "utf-8")
        return
    for draft in drafts:
        beside = draft.path.with_name(PLAN_SCHEMA_FILE)
        if not beside.is_file() or beside.read_bytes() != schema.encode():
            write_atomically(beside, schema)
        write_atomically(draft.path, draft.text)


def existing_plan(path: Path, *, overwrite: bool) -> ExistingPlan | None:
    """What a plan at `path` would replace, if anything.

    Raise `UsageError` where none can be written, or a person's work would go. What can't be read
    may hold pins, so that even `overwrite` doesn't replace it.
    """
    refuse_unwritable_file(path)
    if not path.exists():
        return None
    try:
        plan = read_plan(path)
    except ArtifactError as error:
        raise UsageError(
            f"{path}: is there and is no plan that can be read, so it isn't replaced; mend it, "
            f"remove it, or choose another name.\n{error}"
        ) from error
    edited = plan.edited or has_comments(path)
    if edited and not overwrite:
        raise UsageError(
            f"{path}: was edited by hand since gp plan wrote it; choose another name, or say "
            "--overwrite to replace it (its pins are kept, its edits and comments are lost)."
        )
    return ExistingPlan(plan, edited)


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
