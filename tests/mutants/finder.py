"""Finds the mutants of a module: each one changed operator, comparison, constant or return."""

import ast
from dataclasses import dataclass
from typing import Final

OPERATORS: Final = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
COMPARISONS: Final = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
SHOWN: Final = 60  # characters of what a mutant replaces


@dataclass(frozen=True)
class Mutant:
    """One change of one module: `text[start:end]` becomes `new`."""

    module: str  # its path in the repository
    line: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        """Name the place and the change."""
        old = " ".join(self.old.split())
        shown = old if len(old) <= SHOWN else f"{old[:SHOWN]}…"
        return f"{self.module}:{self.line}: {shown} -> {self.new or 'nothing'}"


class Finder(ast.NodeVisitor):
    """Finds what can be changed in a module, with the name of the function around each place."""

    def __init__(self, module: str, text: str) -> None:
        self._module, self._text = module, text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = text.splitlines(keepends=True)
        self._names: list[str] = []
        self.mutants: list[tuple[str, Mutant]] = []  # name of the place, mutant

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look into the body and the defaults; annotations and decorators decide nothing."""
        self._names.append(node.name)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)
        self._names.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look into the body."""
        self._names.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._names.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value alone."""
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone: messages are compared in part, so their mutants tell little."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave messages alone."""

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Change an operator, unless it joins texts or types."""
        change = OPERATORS.get(type(node.op))
        texts = any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right))
        if change is not None and not texts:
            self._between(node.left, node.right, *change)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Change every comparison of a chain."""
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            self._between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Change `and` into `or`, and the other way round."""
        change = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, *change)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Leave a `not` or a minus out."""
        if isinstance(node.op, ast.Not | ast.USub):
            start = self._offset(node.lineno, node.col_offset)
            self._add(node.lineno, start, self._offset(*_start(node.operand)), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Change a number or a truth value."""
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int | float):
            self._replace(node, repr(value + 1))

    def visit_Return(self, node: ast.Return) -> None:
        """Return None instead of a value."""
        if node.value is not None and not _is_none(node.value):
            self._replace(node.value, "None")
            self.visit(node.value)

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Change the operator between two operands."""
        start, end = self._offset(*_end(left)), self._offset(*_start(right))
        at = self._text.find(old, start, end)
        if at >= 0:
            self._add(left.end_lineno or left.lineno, at, at + len(old), new)

    def _replace(self, node: ast.expr, new: str) -> None:
        """Change a whole expression."""
        self._add(node.lineno, self._offset(*_start(node)), self._offset(*_end(node)), new)

    def _offset(self, line: int, column: int) -> int:
        """Where in the text a place lies that ast gives in bytes of a line."""
        before = self._lines[line - 1].encode()[:column]
        return self._starts[line - 1] + len(before.decode())

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        """Take note of a mutant."""
        old = self._text[start:end]
        mutant = Mutant(self._module, line, start, end, old, new)
        self.mutants.append((".".join(self._names), mutant))


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutants_of(module: str, text: str) -> list[tuple[str, Mutant]]:
    """Every mutant of a module that Python can read, each with a name that outlives moved lines."""
    finder = Finder(module, text)
    finder.visit(ast.parse(text))
    named: list[tuple[str, Mutant]] = []
    seen: dict[str, int] = {}
    for place, mutant in finder.mutants:
        changed = text[: mutant.start] + mutant.new + text[mutant.end :]
        try:
            compile(changed, module, "exec")
        except (SyntaxError, ValueError):
            continue
        line = text[: mutant.start].rpartition("\n")[2] + text[mutant.start :].partition("\n")[0]
        name = f"{module}:{place}:{line.strip()}:{mutant.old}:{mutant.new}"
        seen[name] = seen.get(name, 0) + 1
        named.append((f"{name}:{seen[name]}", mutant))
    return named
