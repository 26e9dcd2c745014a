"""Building blocks of JSON Schemas for configuration files.

`x-must` completes the sentence "VALUE is not ..."; `x-secret` marks a value that no message repeats.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]


def text(must: str, description: str, **more: Any) -> Schema:
    """Describe a text."""
    return {"type": "string", "description": description, "x-must": must, **more}


def number(must: str, description: str, **more: Any) -> Schema:
    """Describe a number."""
    return {"type": "number", "description": description, "x-must": must, **more}


def mapping(description: str, properties: Mapping[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    """Describe a mapping whose keys are all known."""
    closed: Schema = {
        "type": "object",
        "description": description,
        "x-must": "a mapping of keys to values",
        "additionalProperties": False,
    }
    return closed | {"properties": dict(properties)} | ({"required": list(required)} if required else {})


def names(must: str, description: str, item: str = r"\S", **more: Any) -> Schema:
    """Describe a name, or a list of names."""
    one = {"type": "string", "pattern": item, "x-must": must}
    return {
        "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
        "description": description,
        "x-must": must,
        **more,
    }


def listed(item: Schema, must: str, description: str, **more: Any) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": item, "description": description, "x-must": must, **more}


def by_kind(must: str, kinds: Mapping[str, Schema]) -> Schema:
    """Describe a mapping whose `kind` says which of several it is, so that an error is about the one that was meant."""
    chosen: Iterable[Schema] = (
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": schema}
        for kind, schema in kinds.items()
    )
    kind = {"enum": list(kinds), "x-must": f"one of {', '.join(kinds)}"}
    return {
        "type": "object",
        "x-must": must,
        "required": ["kind"],
        "properties": {"kind": kind},
        "allOf": list(chosen),
    }


def secret(description: str) -> Schema:
    """Describe a reference to a secret."""
    must = "a reference such as env:NAME or file:PATH"
    return text(must, description, pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$", **{"x-secret": True})


def server(which: str, example: str = "host=10.0.0.1 dbname=app user=auditor", secret_example: str = "") -> Schema:
    """Describe how a database is reached."""
    dsn = text(
        f"a connection string such as {example}",
        "A libpq connection string, `key=value ...` or `postgresql://...`; a password in it is never printed.",
        minLength=1,
        examples=[example],
    )
    password = secret(
        "Where the password is: `env:NAME` or `file:PATH`. Left out: pgpass, certificates, IAM or the dsn itself."
    )
    examples = {"examples": [secret_example]} if secret_example else {}
    return mapping(f"The {which}.", {"dsn": dsn, "password": password | examples}, ("dsn",))
