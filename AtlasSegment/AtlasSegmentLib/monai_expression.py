"""The few expressions of MONAI configs that are understood: a small calculator over plain values. Nothing is ever run as Python."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_PLACEHOLDER = "_reference_{}_"
_LONGEST = 100_000  # characters or entries; configs stay far below
_LARGEST = 10**15
_MOST_NODES = 2000

CONSTANTS: dict[str, Any] = {
    "monai.utils.CommonKeys.IMAGE": "image",
    "monai.utils.CommonKeys.LABEL": "label",
    "monai.utils.CommonKeys.PRED": "pred",
    **{f"{module}.{name}": name for module in ("torch", "numpy", "np") for name in ("float16", "float32", "float64", "int32", "uint8")},
    **{f"torch.{name}": kept for name, kept in (("float", "float32"), ("half", "float16"), ("double", "float64"))},
}
"""Names that stand for plain values."""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{"len": len, "list": list, "tuple": tuple, "int": int, "float": float, "str": str, "bool": bool},
    **{"max": max, "min": min, "abs": abs, "round": round, "sum": sum},
}
_SAME = frozenset({"to", "cuda", "cpu", "eval", "float"})
"""Methods of a network that leave what it computes as it is."""
_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError, ValueError)
"""What an expression of plain values can raise that makes no sense."""


class NotUnderstoodError(Exception):
    """An expression that would have to be run as Python."""


class Part:
    """What an expression may hold beside plain values: a part of the config that MONAI would make an object of."""


def calculate(text: str, lookup: Callable[[str], Any]) -> Any:
    """Return the value of an expression.

    Args:
        text: Without the leading "$".
        lookup: Gives the value of a reference such as "a" or "a#b" ("@a#b" in the text).

    Raises:
        NotUnderstoodError: It is more than arithmetic, choices, indices and lengths of plain values.
    """
    if len(text) > _LONGEST:
        raise NotUnderstoodError
    references: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        name = _PLACEHOLDER.format(len(references))
        references[name] = match[1]
        return name

    try:
        tree = ast.parse(_REFERENCE.sub(placeholder, text).strip(), mode="eval")
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
            raise NotUnderstoodError
        return _Calculator(references, lookup).value(tree.body)
    except FAILURES as error:
        raise NotUnderstoodError from error


class _Calculator:
    def __init__(self, references: Mapping[str, str], lookup: Callable[[str], Any]) -> None:
        self._references, self._lookup = references, lookup

    def value(self, node: ast.AST) -> Any:
        """Return the value of a node; every kind that is not listed is refused."""
        kinds: dict[type[ast.AST], Callable[[Any], Any]] = {
            ast.Constant: lambda n: n.value,
            ast.Name: self._name,
            ast.Attribute: self._constant,
            ast.List: lambda n: self._all(n.elts),
            ast.Tuple: lambda n: tuple(self._all(n.elts)),
            ast.Dict: self._dict,
            ast.BinOp: self._binary,
            ast.UnaryOp: lambda n: _known(_UNARY, n.op)(self.value(n.operand)),
            ast.BoolOp: self._choice,
            ast.Compare: self._compare,
            ast.IfExp: lambda n: self.value(n.body if self.value(n.test) else n.orelse),
            ast.Subscript: lambda n: self.value(n.value)[self.value(n.slice)],
            ast.Slice: lambda n: slice(*(None if part is None else self.value(part) for part in (n.lower, n.upper, n.step))),
            ast.Call: self._call,
        }
        return _sized(_known(kinds, node)(node))

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self._references:
            raise NotUnderstoodError
        return self._lookup(self._references[node.id])

    def _constant(self, node: ast.Attribute) -> Any:
        return _known_name(CONSTANTS, ast.unparse(node))

    def _all(self, nodes: Sequence[ast.AST]) -> list[Any]:
        return [self.value(node) for node in nodes]

    def _dict(self, node: ast.Dict) -> dict[Any, Any]:
        if None in node.keys:
            raise NotUnderstoodError
        return dict(zip(self._all([key for key in node.keys if key is not None]), self._all(node.values), strict=True))

    def _binary(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        plain = all(isinstance(side, int | float) for side in (left, right))
        joined = isinstance(node.op, ast.Add) and isinstance(left, str | list | tuple) and type(left) is type(right)
        repeated = (
            isinstance(node.op, ast.Mult) and isinstance(left, list | tuple) and isinstance(right, int) and len(left) * right < _LONGEST
        )
        if not (plain or joined or repeated):
            raise NotUnderstoodError
        return _known(_BINARY, node.op)(left, right)

    def _choice(self, node: ast.BoolOp) -> Any:
        decides = isinstance(node.op, ast.Or)
        result: Any = None
        for part in node.values:
            result = self.value(part)
            if bool(result) is decides:
                break
        return result

    def _compare(self, node: ast.Compare) -> bool:
        sides = self._all([node.left, *node.comparators])
        return all(_known(_COMPARE, op)(a, b) for op, a, b in zip(node.ops, sides[:-1], sides[1:], strict=True))

    def _call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Attribute):
            part = self.value(node.func.value) if node.func.attr in _SAME else None
            if not isinstance(part, Part):
                raise NotUnderstoodError
            return part
        if node.keywords or not isinstance(node.func, ast.Name):
            raise NotUnderstoodError
        return _known_name(_FUNCTIONS, node.func.id)(*self._all(node.args))


def _known(table: Mapping[type[ast.AST], Any], node: ast.AST) -> Any:
    if type(node) not in table:
        raise NotUnderstoodError
    return table[type(node)]


def _known_name(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise NotUnderstoodError
    return table[name]


def _sized(value: Any) -> Any:
    """Return a value that is not huge."""
    if isinstance(value, str | list | tuple | dict) and len(value) > _LONGEST:
        raise NotUnderstoodError
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise NotUnderstoodError
    return value
