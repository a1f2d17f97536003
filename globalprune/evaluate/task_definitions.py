"""Tasks of lm-eval, found and read before any model runs: names, local files and their data.

lm-eval loads inside functions: it comes with the extra `eval`, and most evaluations need none.
"""

import difflib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.evaluations.evaluation import TaskSettings
from globalprune.errors import TextError, UsageError
from globalprune.evaluate.quiet_harness import quiet_harness
from globalprune.evaluate.task_digests import code_digests, config_digest, documents_digest
from globalprune.progress import Progress

HARNESS: Final = "lm_eval"
_GROUP: Final = re.compile(r"^group\s*:", re.MULTILINE)
_SUGGESTED: Final = 5


@dataclass(frozen=True)
class Tasks:
    """What lm-eval made of the names: its own objects, and digests that say exactly what is asked.

    `documents` and `configs` are by task; `parents` names the group that speaks for a task.
    """

    settings: TaskSettings
    loaded: Any  # lm-eval's TaskDict
    documents: dict[str, str]
    configs: dict[str, str]
    parents: dict[str, str]

    @property
    def key(self) -> dict[str, Any]:
        """All that the answers depend on, but for the model."""
        asked = self.settings.model_dump(mode="json", exclude={"include_path"})
        return {
            **asked,
            "documents": self.documents,
            "configs": self.configs,
            "code": code_digests(self.settings),
        }


def harness_version() -> str:
    """The version of lm-eval; raise `UsageError` where it isn't installed."""
    try:
        return metadata.version(HARNESS)
    except metadata.PackageNotFoundError:
        raise UsageError(
            "--tasks: needs lm-eval, which isn't installed; pip install 'globalprune[eval]'."
        ) from None


def read_tasks(settings: TaskSettings, progress: Progress) -> Tasks:
    """Find every task and read its data; raise what a person can mend."""
    harness_version()
    include = _include_path(settings.include_path)
    _refuse_missing_files(settings.names)
    with quiet_harness(progress):
        manager = _manager(settings.names, include)
        for name in settings.names:
            _refuse_unknown(name, manager)
        loaded = _load(manager, settings.names)
        for name, task in loaded["tasks"].items():
            _refuse_unfit(name, task)
        limit = settings.limit
        return Tasks(
            settings,
            loaded,
            documents={
                name: documents_digest(task, limit) for name, task in loaded["tasks"].items()
            },
            configs={name: config_digest(task) for name, task in loaded["tasks"].items()},
            parents=_parents(loaded["groups"]),
        )


def _include_path(text: str | None) -> Path | None:
    """The folder of further tasks."""
    if text is None:
        return None
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--tasks-path {text}: there is no such folder.")
    return folder


def _refuse_missing_files(names: tuple[str, ...]) -> None:
    """Raise for what can only have been meant as a file, and is none."""
    for name in names:
        if name.endswith((".yaml", ".yml")) and not Path(name).expanduser().is_file():
            raise UsageError(f"--tasks {name}: there is no such file.")


def _manager(names: tuple[str, ...], include: Path | None) -> Any:
    """lm-eval's index of tasks; reading its thousands takes seconds, so only if they are needed."""
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=include, include_defaults=False)
    if all(_stands_alone(name, own.task_index) or _is_single_task(name) for name in names):
        return own
    return TaskManager(include_path=include)


def _stands_alone(name: str, index: dict[str, Any]) -> bool:
    """Whether this name, and all that a group of that name lists, is among these tasks."""
    entry = index.get(name)
    if entry is None:
        return False
    members = (entry.cfg or {}).get("task", name)
    return not isinstance(members, list) or all(
        isinstance(member, str) and member in index for member in members
    )


def _is_single_task(name: str) -> bool:
    """Whether this is a file of a task, and not of a group that may name any other."""
    path = Path(name).expanduser()
    return path.is_file() and not _GROUP.search(path.read_text(encoding="utf-8", errors="replace"))


def _refuse_unknown(name: str, manager: Any) -> None:
    """Raise unless this is a task, group or tag of lm-eval, or a file of one."""
    if name in manager.all_tasks or Path(name).expanduser().is_file():
        return
    near = difflib.get_close_matches(name, manager.all_tasks, n=_SUGGESTED)
    hint = f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists what it knows."
    raise UsageError(
        f"--tasks {name}: is neither a task that lm-eval {harness_version()} knows nor a .yaml "
        f"file; {hint}"
    )


def _load(manager: Any, names: tuple[str, ...]) -> Any:
    """Read the tasks and their data."""
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for name in dict.fromkeys(names):
        try:
            found = manager.load([name])
        # lm-eval lets through whatever its data's readers raise, of many libraries
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise TextError(
                f"--tasks {name}: can't be read ({type(error).__name__}: {lines[0]}); look at its "
                "definition, and without a network at whether its data is in the cache."
            ) from error
        for part, members in loaded.items():
            members.update(found[part])
    return loaded


def _refuse_unfit(name: str, task: Any) -> None:
    """Raise for a task that runs code a model wrote, or that shows pictures."""
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(f"--tasks {name}: runs code that the model writes; gp eval won't run it.")
    if getattr(task, "MULTIMODAL", False):
        raise UsageError(f"--tasks {name}: needs a model that sees; name a task of text alone.")


def _parents(groups: dict[str, Any]) -> dict[str, str]:
    """Each task or group by the group above it that has a figure of its own."""
    return {
        child: name
        for name, group in groups.items()
        if group.has_aggregation
        for child in group.child_names
    }
