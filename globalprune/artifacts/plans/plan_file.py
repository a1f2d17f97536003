"""plan.yaml on disk: read with every problem at once, written without losing hand edits.

A generated plan may be replaced, an edited one only when the caller says so, and a file that is no
plan never. The comment at the top is written, recognised and refreshed here.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from globalprune.artifacts.disk import refuse_unwritable_file, write_atomically
from globalprune.artifacts.plans.plan import AnalysisReference, PrunePlan
from globalprune.artifacts.plans.plan_validation import (
    range_problems,
    refuse_other_format,
    refuse_stale,
    validate_shape,
)
from globalprune.artifacts.plans.plan_yaml import (
    LinedDict,
    Problem,
    format_plan,
    load_document,
    read_content,
)
from globalprune.artifacts.records import json_schema
from globalprune.artifacts.staging import updated_folder
from globalprune.artifacts.structure import ModelStructure
from globalprune.errors import ArtifactError, PlanInvalid, UsageError

PLAN_FILE: Final = "plan.yaml"
PLAN_SCHEMA_FILE: Final = "plan.v1.schema.json"
SCHEMA_LINE: Final = f"# yaml-language-server: $schema=./{PLAN_SCHEMA_FILE}"
_CONTINUES: Final = "#   "
_LAST: Final = "`gp check --write` refreshes these lines after an edit"
_GENERATED: Final = re.compile(  # a line that gp wrote, by its first words
    r"# as (generated|edited|written): removes "
    r"|#   (leaves (at most )?[\d,]+ (parameters|bytes of|FLOPs a)|importance lost: "
    r"|doubted: the plan of |keeps \S+ %; any (cut as large|plan of) "
    rf"|any (cut as large|plan of this size) |{re.escape(_LAST)})"
)
_QUOTED: Final = r"""(?<![^\s\[{,:])(?:"(?:\\.|[^"\\])*"|'(?:[^']|'')*')"""  # where a value begins
_COMMENT: Final = re.compile(rf"{_QUOTED}|(?:^|\s)(#)", re.MULTILINE)


@dataclass(frozen=True)
class PlanFile:
    """A valid plan, and its file as a person wrote it."""

    path: Path
    content: bytes
    plan: PrunePlan

    @property
    def folder(self) -> Path:
        """Return the folder that the plan's own paths are relative to."""
        return self.path.resolve().parent


@dataclass(frozen=True)
class PlanDocument:
    """A parsed file of a plan's format, not yet validated."""

    path: Path
    content: bytes
    document: LinedDict
    repeated: Sequence[Problem]  # keys

    @property
    def analysis(self) -> AnalysisReference | None:
        """Return the analysis that it names, whatever else may be wrong with it."""
        try:
            return AnalysisReference.model_validate(self.document.get("analysis"))
        except ValidationError:
            return None

    def plan(self, structure: ModelStructure | None = None) -> PrunePlan:
        """Return the plan; raise as `read_plan` does."""
        plan, problems = validate_shape(self.document)
        problems += self.repeated
        named = _named_structure(self.document)
        if structure is not None and named in (None, structure.fingerprint):
            problems += range_problems(self.document, structure)
        if problems or plan is None:
            ordered = sorted(dict.fromkeys(problems))
            raise PlanInvalid(str(self.path), [f"line {line}: {text}" for line, text in ordered])
        if structure is not None:
            refuse_stale(str(self.path), plan, named, structure)
        return plan

    def file(self, structure: ModelStructure | None = None) -> PlanFile:
        """Return the plan with its file; raise as `read_plan` does."""
        return PlanFile(self.path, self.content, self.plan(structure))


@dataclass(frozen=True)
class ExistingPlan:
    """A plan that is on disk already."""

    plan: PrunePlan
    edited: bool  # a person changed a decision, or wrote comments


@dataclass(frozen=True)
class PlanDraft:
    """A plan that is to be written, and the lines of its comment."""

    path: Path
    plan: PrunePlan
    header: Sequence[str]

    @property
    def text(self) -> str:
        """Return the whole file."""
        comment = "\n".join([SCHEMA_LINE, *comment_lines(self.header)])
        return f"{comment}\n{format_plan(self.plan)}"


def open_plan(path: Path) -> PlanDocument:
    """Parse a plan file.

    Raise `PlanInvalid` where it is no YAML mapping, and `PlanVersion` for another format.
    """
    content = read_content(path)
    document, repeated = load_document(path, content)
    refuse_other_format(path, document)
    return PlanDocument(path, content, document, repeated)


def read_plan(path: Path, structure: ModelStructure | None = None) -> PrunePlan:
    """Read a plan; raise `PlanInvalid` with all its problems, each with its line and what to do.

    With a `structure` every index must exist in it, and a plan for another one raises `PlanStale`.
    """
    return open_plan(path).plan(structure)


def read_plan_file(path: Path, structure: ModelStructure | None = None) -> PlanFile:
    """Read a plan as `read_plan` does, and keep the content of its file."""
    return open_plan(path).file(structure)


def existing_plan(path: Path, *, overwrite: bool) -> ExistingPlan | None:
    """Return the plan that a new one at `path` would replace, if there is one.

    Raise `UsageError` where none can be written, or where a person's work would be lost. A file
    that can't be read may hold pins, so that even `overwrite` doesn't replace it.
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


def write_plan(path: Path, plan: PrunePlan, *, header: Sequence[str], overwrite: bool) -> None:
    """Write the plan and, beside it, the schema that editors check it against.

    `header` says what the plan does; its first line starts with "as generated: ". Raise as
    `existing_plan` does.
    """
    existing_plan(path, overwrite=overwrite)
    replace_plans([PlanDraft(path, plan, header)])


def replace_plans(drafts: Sequence[PlanDraft]) -> None:
    """Write plans over whatever is there, which `existing_plan` has checked.

    Several of one folder appear together; a link is followed, and stays.
    """
    schema = json.dumps(json_schema(PrunePlan, PLAN_SCHEMA_FILE), indent=2) + "\n"
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


def comment_lines(header: Sequence[str]) -> list[str]:
    """Return the header as comment lines that are recognised by their first and last words."""
    first, *more = header
    return [f"# {first}", *(_CONTINUES + line for line in (*more, _LAST))]


def refresh_header(path: Path, header: Sequence[str]) -> None:
    """Replace the generated comment lines; every other byte of the file stays as it is."""
    text = path.read_bytes().decode("utf-8")
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    lines = text.removeprefix(mark).splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    generated = _generated_lines(lines)
    at = generated[0] if generated else _first_line(lines)
    fresh = [line + newline for line in comment_lines(header)]
    others = [line for number, line in enumerate(lines) if number not in generated]
    text = "".join([mark, *others[:at], *fresh, *others[at:]])
    write_atomically(path, text.encode("utf-8"))


def has_comments(path: Path) -> bool:
    """Return whether a person wrote comments of their own."""
    lines = path.read_text("utf-8-sig").splitlines()
    generated = _generated_lines(lines)
    others = [line for at, line in enumerate(lines) if at not in generated and line != SCHEMA_LINE]
    return any(match[1] for match in _COMMENT.finditer("\n".join(others)))


def _generated_lines(lines: Sequence[str]) -> list[int]:
    """Return the places of the generated comment lines; a person's may stand among them."""
    found = []
    for at, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith(("#", "---")):
            break
        if _GENERATED.match(line):
            found.append(at)
        if line.rstrip() == _CONTINUES + _LAST:
            break
    return found


def _first_line(lines: Sequence[str]) -> int:
    """Where the generated comment belongs if a person took it out."""
    return 1 if lines and "yaml-language-server" in lines[0] else 0


def _named_structure(document: LinedDict) -> str | None:
    """Return the fingerprint that the plan names, if it names one at all."""
    model = document.get("model")
    named = model.get("structure") if isinstance(model, dict) else None
    return named if isinstance(named, str) else None
