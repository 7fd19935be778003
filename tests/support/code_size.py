"""The size of Python modules as a reader meets it: lines of code without comments, docstrings, blanks and imports."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass

_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True)
class ModuleSize:
    """`lines` of code and `docstrings` in lines, `functions` (methods and inner ones too), public `classes`."""

    lines: int
    docstrings: int
    functions: int
    classes: tuple[str, ...]


def measure(source: str) -> ModuleSize:
    """Measure one module. Raises SyntaxError."""
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = {line for node in nodes if (doc := _docstring(node)) for line in _lines(doc)}
    imports = {line for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for line in _lines(node)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    return ModuleSize(
        lines=len(code - docstrings - imports),
        docstrings=len(docstrings),
        functions=sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        classes=tuple(node.name for node in nodes if isinstance(node, ast.ClassDef) and node.name[0] != "_"),
    )


def _docstring(node: ast.AST) -> ast.Expr | None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return None
    first = node.body[0]
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return first if is_text else None  # type: ignore[return-value]


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
