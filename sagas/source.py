"""The code of a function as the hash of a definition sees it: what it does, not how it looks.

Comments, docstrings, blank lines and the way lines are broken don't count; names, values and
annotations do.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import tokenize
from collections.abc import Callable
from types import FunctionType
from weakref import WeakKeyDictionary

# Tokens that only lay code out.
_LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}


def source_of(function: object) -> str:
    """The code of a function, of a rule's text the text; the name where there is no source."""
    if not callable(function):
        return repr(function)
    if isinstance(function, FunctionType):  # an engine makes its definitions anew from those given
        if function not in _KNOWN:
            _KNOWN[function] = _of(function)
        return _KNOWN[function]
    return _of(function)


_KNOWN: WeakKeyDictionary[FunctionType, str] = WeakKeyDictionary()


def _of(function: Callable[..., object]) -> str:
    try:
        return bare(inspect.getsource(function))
    except (OSError, TypeError):
        return getattr(function, "__qualname__", type(function).__qualname__)


def bare(source: str) -> str:
    """Source text without what only people read."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except (SyntaxError, ValueError):
        return _words(source)  # a lambda comes with the middle of the chain it stands in
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            _drop_docstring(node)
    return ast.unparse(tree)


def _drop_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def _words(source: str) -> str:
    words: list[str] = []
    try:
        for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
            if token.type not in _LAYOUT:
                words.append(token.string)
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # it ends in the middle of a call; all that it has was read
    return " ".join(words) or source
