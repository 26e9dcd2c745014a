"""Read one scalar SQL expression that people wrote, and write it anew from what was understood of it.

Nothing passes but what is listed here: the servers never see the text that was given. What is listed depends on
nothing but the row and the settings that every session pins.
"""

import re
import string
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MAX_LENGTH = 2000
_DIALECT = "postgres"
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MOVING = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
"""Words that PostgreSQL reads as a time that is another one at each call."""
_TIME_TEXT = re.compile(r"[0-9TZ :.,+\-/]*")
_UNITS = frozenset(
    {"MICROSECONDS", "MILLISECONDS", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "EPOCH"}
)
_WORDS = frozenset({"BOTH", "LEADING", "TRAILING"})
"""What a node may hold as bare text."""

_LEAVES = {exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Var}
_OPERATORS = {
    exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe, exp.And, exp.Or, exp.Not, exp.EQ,
    exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In, exp.Between, exp.Like,
    exp.Case, exp.If, exp.AtTimeZone, exp.Cast, exp.DataType, exp.DataTypeParam,
}  # fmt: skip
_FUNCTIONS = {
    exp.Abs, exp.Ceil, exp.Coalesce, exp.Decode, exp.Encode, exp.Extract, exp.Floor, exp.Greatest, exp.Least, exp.Left,
    exp.Length, exp.Lower, exp.MD5, exp.Nullif, exp.Replace, exp.Right, exp.Round, exp.Substring, exp.TimestampTrunc,
    exp.Trim, exp.Trunc, exp.Upper,
}  # fmt: skip
_ALLOWED = frozenset(_LEAVES | _OPERATORS | _FUNCTIONS)

_TYPE = exp.DataType.Type
_TIMES = frozenset({_TYPE.DATE, _TYPE.TIME, _TYPE.TIMETZ, _TYPE.TIMESTAMP, _TYPE.TIMESTAMPTZ})
_TYPES = _TIMES | {
    _TYPE.BOOLEAN, _TYPE.SMALLINT, _TYPE.INT, _TYPE.BIGINT, _TYPE.FLOAT, _TYPE.DOUBLE, _TYPE.DECIMAL, _TYPE.TEXT,
    _TYPE.VARCHAR, _TYPE.CHAR, _TYPE.BPCHAR, _TYPE.VARBINARY, _TYPE.UUID, _TYPE.JSON, _TYPE.JSONB, _TYPE.INTERVAL,
    _TYPE.INET,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """A scalar expression that reads one row and nothing else."""

    sql: str
    """PostgreSQL's SQL, every name in quotes."""
    columns: frozenset[str]
    """Columns that it reads; at least one."""


def read_expression(text: str) -> Expression:
    """Read a scalar expression over the columns of one table.

    Raises:
        ValueError: it is none, or uses what is not allowed; the text says which.
    """
    try:
        return _read(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _read(text: str) -> Expression:
    tree = _parsed(text)
    for node in tree.walk():
        _check(node)
    for column in tree.find_all(exp.Identifier):
        if not column.quoted:
            column.set("this", column.name.translate(_ASCII_LOWER))
        column.set("quoted", True)
    columns = frozenset(column.name for column in tree.find_all(exp.Column))
    if not columns:
        raise ValueError("reads no column, so it would say the same of every row")
    sql = tree.sql(_DIALECT, identify=True, comments=False)
    if _parsed(sql) != tree:
        raise ValueError("cannot be written back as it was read")
    return Expression(sql, columns)


def _parsed(text: str) -> exp.Expr:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    if any(ord(letter) < 32 and letter not in "\t\r\n" for letter in text):
        raise ValueError("holds a control character")
    try:
        statements = sqlglot.parse(text, read=_DIALECT)
    except SqlglotError as error:
        raise ValueError(f"is not an SQL expression: {str(error).splitlines()[0].rstrip('.')}") from None
    if len(statements) != 1 or statements[0] is None:
        raise ValueError("is not one expression")
    return statements[0]


def _check(node: exp.Expr) -> None:
    if type(node) not in _ALLOWED:
        raise ValueError(f"uses {_named(node)}, which is not allowed here")
    for check, kinds in _CHECKS:
        if isinstance(node, kinds):
            check(node)
    held = _LEAVES - {exp.Column, exp.Null, exp.Boolean}
    for name, value in node.args.items():
        if isinstance(value, str) and type(node) not in held and value.upper() not in _WORDS:
            raise ValueError(f"uses {name} {value!r}, which is not allowed here")


def _named(node: exp.Expr) -> str:
    """Name a node as the one who wrote it would."""
    if isinstance(node, exp.Query | exp.Subquery):
        return "a subquery"
    if isinstance(node, exp.Anonymous):
        return f"the function {node.name}"
    if isinstance(node, exp.Func):
        return f"the function {node.sql_name().lower()}"
    return type(node).__name__.lower()


def _check_column(node: exp.Expr) -> None:
    if set(name for name, value in node.args.items() if value) != {"this"} or not isinstance(node.this, exp.Identifier):
        raise ValueError(f"names {node.sql(_DIALECT)}: write the columns of this table without a qualifier")


def _check_literal(node: exp.Expr) -> None:
    text = str(node.this)
    if not node.args.get("is_string"):
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"holds {text}, which is not a plain number")
    elif "\\" in text:
        raise ValueError("holds a backslash, which servers may read in two ways")
    elif _MOVING.search(text):
        raise ValueError(f"holds {text!r}, which may be read as the time of the call")


def _check_word(node: exp.Expr) -> None:
    if str(node.this).upper() not in _UNITS:
        raise ValueError(f"holds {node.name}, which is not a unit of time that is known here")


def _check_type(node: exp.Expr) -> None:
    if node.this not in _TYPES or any(not isinstance(one, exp.DataTypeParam) for one in node.expressions):
        raise ValueError(f"casts to {node.sql(_DIALECT)}; allowed are {', '.join(_type_names())}")


def _check_parameter(node: exp.Expr) -> None:
    if not isinstance(node.this, exp.Literal) or node.this.is_string:
        raise ValueError("holds a type whose parameter is not a number")


def _check_cast(node: exp.Expr) -> None:
    to = node.args.get("to")
    if not isinstance(to, exp.DataType):
        raise ValueError(f"casts to {to}, which is not allowed here")
    if to.this in _TIMES:
        for literal in node.this.find_all(exp.Literal):
            zone = literal.arg_key == "zone"
            if literal.is_string and not zone and not _TIME_TEXT.fullmatch(literal.name):
                raise ValueError(f"casts {literal.name!r} to a time; write times in digits")


def _check_zone(node: exp.Expr) -> None:
    if not isinstance(node.args.get("zone"), exp.Literal):
        raise ValueError("reads a time in a zone that is not a plain text")


def _type_names() -> list[str]:
    spelled: dict[Any, str] = {_TYPE.VARBINARY: "bytea", _TYPE.DECIMAL: "numeric", _TYPE.FLOAT: "real"}
    return sorted(spelled.get(kind, str(kind.value).lower()) for kind in _TYPES)


_CHECKS: tuple[tuple[Any, type[exp.Expr]], ...] = (
    (_check_column, exp.Column),
    (_check_literal, exp.Literal),
    (_check_word, exp.Var),
    (_check_type, exp.DataType),
    (_check_parameter, exp.DataTypeParam),
    (_check_cast, exp.Cast),
    (_check_zone, exp.AtTimeZone),
)
