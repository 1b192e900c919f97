"""Sizes and shapes that keep the code readable: files, functions, docstrings, no import circle."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "engrain"

FILE_LINES = 500
FUNCTION_LINES = 80


def sources(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_file_is_longer_than_500_lines():
    long = {}
    for path in sources(SOURCE, ROOT / "tests", ROOT / "benchmarks"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES:
            long[str(path.relative_to(ROOT))] = lines
    assert not long


def test_no_function_is_longer_than_80_lines():
    long = {}
    for path in sources(SOURCE, ROOT / "tests", ROOT / "benchmarks"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long


def test_every_module_says_what_it_is():
    silent = [str(path) for path in sources(SOURCE) if not ast.get_docstring(tree(path))]
    assert not silent


def test_no_exception_handler_catches_everything():
    # A bug keeps its traceback; an item's failure has a type (errors.py).
    wide = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources(SOURCE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    ]
    assert not wide


def test_modules_import_one_another_in_no_circle():
    graph = {name(path): runtime_imports(path) for path in sources(SOURCE)}
    order: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            circles.append([*trail[trail.index(module) :], module])
        elif module not in order:
            for target in sorted(graph.get(module, set())):
                visit(target, [*trail, module])
            order.append(module)

    for module in sorted(graph):
        visit(module, [])
    assert not circles, "\n".join(" -> ".join(circle) for circle in circles)


def name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def runtime_imports(path: Path) -> set[str]:
    """The modules that a file imports when it runs, also inside functions: that hides a circle."""
    known = {name(other) for other in sources(SOURCE)}
    found = set()
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= submodules or {node.module}
        pending += ast.iter_child_nodes(node)
    return {module for module in found & known if module != name(path)}
