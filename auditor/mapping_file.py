"""The mapping file: how the tables of the row audit are paired where the target differs by design."""

from pathlib import Path
from typing import Any

from auditor.settings_file import read_document, schema_problems
from comparators.mapping import NO_MAPPING, Mapping
from comparators.mapping_rules import read_mapping

_TABLE = {"type": "string", "pattern": r"^[^.]+\.[^.]+$", "x-must": "a table, schema.table"}
_COLUMN = {"type": "string", "minLength": 1, "x-must": "the name of a column"}
_EXPRESSION = {"type": "string", "minLength": 1, "x-must": "an SQL expression"}


def _closed(properties: dict[str, Any], must: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "x-must": must, **more}


def _by_name(item: dict[str, Any], must: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": item, "x-must": must}


_SIDES = _closed(
    {"source": _EXPRESSION, "target": _EXPRESSION}, "{source: EXPRESSION, target: EXPRESSION}", minProperties=1
)
_RULES = _closed(
    {
        "target": _TABLE,
        "rename": _by_name(_COLUMN, "a mapping of source columns to target columns"),
        "exclude": {"type": "array", "items": _COLUMN, "x-must": "a list of columns"},
        "cast": _by_name(_SIDES, "a mapping of source columns to {source: EXPRESSION, target: EXPRESSION}"),
        "filter": _SIDES,
    },
    "a mapping with target, rename, exclude, cast or filter",
    minProperties=1,
)
SCHEMA = _closed(
    {
        "tables": {
            "type": "object",
            "propertyNames": _TABLE,
            "additionalProperties": _RULES,
            "x-must": "a mapping of tables, schema.table, to their rules",
        }
    },
    "a mapping with the key tables",
    required=["tables"],
)


def load_mapping(file: Path | None) -> Mapping:
    """Read a mapping file; `None`: both sides look alike.

    Raises:
        SettingInvalid: names file, place, value, reason and a way out.
    """
    if file is None:
        return NO_MAPPING
    document = read_document(file, missing="name an existing mapping file")
    for problem in schema_problems(document, SCHEMA):
        raise problem.error(file)
    return read_mapping(document["tables"], str(file))
