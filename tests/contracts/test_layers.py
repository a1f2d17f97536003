"""Who may import whom, as docs/architecture.md draws; a fault in any module turns this red."""

import ast
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "globalprune"
BASE = {"errors", "progress", "printable", "artifacts", "options"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "printable": set(),
    "artifacts": {"errors", "printable", "artifacts"},
    "options": {"errors", "artifacts"},
    "api": BASE | {"models", "planning", "evaluation", "finetuning", "pipeline"},
    "text": BASE | {"text"},
    "models": BASE | {"models"},
    "statistics": BASE | {"text", "models", "statistics"},
    "sublayers": BASE | {"text", "models", "statistics", "sublayers"},
    "compensation": BASE | {"text", "models", "statistics", "sublayers", "compensation"},
    "obs": BASE | {"text", "models", "statistics", "sublayers", "compensation", "obs"},
    "importance": BASE | {"statistics", "importance"},
    "analysis": BASE
    | {
        "text",
        "models",
        "statistics",
        "sublayers",
        "compensation",
        "obs",
        "importance",
        "analysis",
    },
    "planning": BASE | {"planning"},
    "card": BASE | {"card"},
    "report": BASE | {"report"},
    "surgery": BASE
    | {"text", "models", "statistics", "sublayers", "compensation", "card", "surgery"},
    "finetuning": BASE | {"text", "models", "statistics", "card", "finetuning"},
    "evaluation": BASE | {"text", "models", "statistics", "evaluation"},
    "export": BASE | {"text", "models", "statistics", "card", "export"},
    "pipeline": BASE
    | {
        "models",
        "text",
        "analysis",
        "planning",
        "surgery",
        "finetuning",
        "evaluation",
        "card",
        "pipeline",
    },
}
HEAVY = {"torch", "transformers", "datasets", "peft", "accelerate", "safetensors", "gguf"}
LIGHT = (
    "errors",
    "progress",
    "printable",
    "artifacts",
    "options",
    "api",
    "planning",
    "card",
    "report",
    "pipeline",
    "cli",
)
LIGHT_FILES = (
    "models/architecture.py",
    "models/checkpoints/checkpoint.py",
    "surgery/explain.py",
    "surgery/steps.py",
    "surgery/weight_files.py",
)


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, module_level: bool) -> set[str]:
    """Every module and name that a file imports, anywhere or before any function runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _outside_functions(tree) if module_level else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _outside_functions(node: ast.AST) -> list[ast.AST]:
    """The nodes that run at import: no function bodies, no `if TYPE_CHECKING`."""
    found: list[ast.AST] = [node]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        found += _outside_functions(child)
    return found


FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent != PACKAGE or part_of(path) in MAY_IMPORT
]
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_one_way(path: Path) -> None:
    """A module imports only from the parts that stand below its own."""
    if part_of(path) == "cli":  # which sees all
        return
    allowed = MAY_IMPORT[part_of(path)]
    ours = {name for name in imports(path, module_level=False) if name.startswith("globalprune.")}
    parts = {name.split(".")[1] for name in ours}

    assert parts <= allowed
    assert module_of(path) not in ours


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def circle_in(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Some circle of a graph of importers and what they import; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_no_module_lies_in_an_import_circle() -> None:
    """Whenever the import runs, or if it is for types alone."""
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imports(path, module_level=False) & paths.keys() for name, path in paths.items()}

    assert len(graph["globalprune.artifacts.own_files"]) > 5
    assert circle_in(graph) == []


def test_the_folders_of_artifacts_form_no_circle() -> None:
    """A kind of artifact knows the kinds below it, whenever the import runs."""
    artifacts = PACKAGE / "artifacts"
    below = "globalprune.artifacts."
    graph: dict[str, set[str]] = {}
    for path in artifacts.glob("*/*.py"):
        names = [name for name in imports(path, module_level=False) if name.startswith(below)]
        folders = {name.removeprefix(below).partition(".")[0] for name in names}
        own = {folder for folder in folders if (artifacts / folder).is_dir()}
        graph.setdefault(path.parent.name, set()).update(own - {path.parent.name})

    assert graph["plans"]
    assert circle_in(graph) == []


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    """Modules that every command loads never import torch and its like at module level."""
    relative = str(path.relative_to(PACKAGE))
    if part_of(path) not in LIGHT and relative not in LIGHT_FILES:
        return
    names = {name.split(".")[0] for name in imports(path, module_level=True)}

    assert not names & HEAVY


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) == "cli"], ids=lambda p: p.stem)
def test_commands_import_the_phases_inside_functions(path: Path) -> None:
    """A command's module costs nothing until the command runs."""
    ours = {
        name.split(".")[1]
        for name in imports(path, module_level=True)
        if name.startswith("globalprune.")
    }

    assert ours <= {"cli", "errors", "progress", "printable"}


def test_packages_only_say_what_they_are_for() -> None:
    """An `__init__.py` below the top holds a docstring and nothing else."""
    for path in PACKAGE.rglob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path


def test_the_modeling_file_travels_alone() -> None:
    """What is copied into a model folder imports nothing of ours."""
    names = imports(PACKAGE / "models" / "modeling_globalprune.py", module_level=False)

    assert not {name for name in names if name.startswith("globalprune")}


def test_nothing_reads_or_writes_a_pickle() -> None:
    """No module imports pickle or calls torch.load."""
    for path in PACKAGE.rglob("*.py"):
        assert "pickle" not in imports(path, module_level=False), path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path
