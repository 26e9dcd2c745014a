"""Read a configuration file and say everything that is wrong with it, without repeating a secret."""

import difflib
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auditor.dsn import redact_dsn
from comparators.errors import SettingInvalid

_MISSING = "name it with -c FILE or AUDITOR_CONFIG; `auditor config example` prints one to start from"
_SEE = "see `auditor config example` and docs/configuration.md"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the file."""

    path: str
    """Dotted, as in `sampling.rate`."""
    text: str
    """The value and the reason, as in `2 is not a share between 0 and 1`."""
    hint: str = _SEE

    def error(self, file: Path) -> SettingInvalid:
        return SettingInvalid(f"{file}: {self.path}: {self.text}", hint=self.hint)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, not a silent choice, and a time stays text."""


def _mapping(loader: Any, node: Any) -> dict[Hashable, Any]:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, Hashable) and key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
        seen.add(key if isinstance(key, Hashable) else str(key))
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_document(file: Path, missing: str = _MISSING) -> dict[str, Any]:
    """Read the YAML of one file.

    Args:
        missing: the hint for a file that is not there.
    Raises:
        SettingInvalid: no such file, not YAML, a key given twice, or not a mapping.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise SettingInvalid(f"{file}: no such file", hint=missing) from None
    except OSError as error:
        raise SettingInvalid(f"{file}: {error.strerror}", hint="make it readable for this user") from None
    except UnicodeDecodeError:
        raise SettingInvalid(f"{file}: is not UTF-8 text", hint=_SEE) from None
    except yaml.YAMLError as error:
        raise SettingInvalid(f"{file}: {_yaml_problem(error)}", hint="correct the YAML there") from None
    if not isinstance(document, dict):
        raise SettingInvalid(f"{file}: holds no mapping of keys to values", hint=_SEE)
    return document


def _yaml_problem(error: yaml.YAMLError) -> str:
    # str(error) would quote the line, and with it perhaps a password
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or "is not YAML"
    return f"line {mark.line + 1}: {reason}" if mark else str(reason)


def schema_problems(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Check a document against the JSON Schema; the first problem comes first in the file's own order of keys."""
    from jsonschema import Draft202012Validator

    errors = [leaf for error in Draft202012Validator(schema).iter_errors(document) for leaf in _leaves(error)]
    return [
        *_odd_keys(document),
        *_odd_values(document),
        *(problem for error in errors for problem in _problems(error)),
    ]


def _odd_keys(value: Any, path: str = "") -> Iterator[Problem]:
    for key, item in _items(value):
        if isinstance(value, dict) and not isinstance(key, str):
            yield Problem(f"{path}{key}", "is a key that is not text", "put the key in quotes")
        yield from _odd_keys(item, f"{path}{key}.")


def _odd_values(value: Any, path: str = "") -> Iterator[Problem]:
    """Find what slips through a schema: numbers that are none, and line ends, which `$` in a pattern overlooks."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, f"{value} is not a number that can be used")
    if isinstance(value, str) and not path.endswith(".dsn") and any(ord(letter) < 32 for letter in value):
        yield Problem(path, "(not shown) holds a line end or another control character", "write it on one line")
    for key, item in _items(value):
        yield from _odd_values(item, f"{path}.{key}".lstrip("."))


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _leaves(error: Any) -> Iterator[Any]:
    """Of the alternatives that all failed, take the one that fits the value's shape."""
    inner = error.context if error.validator == "anyOf" else ()
    fitting = [one for one in inner if len(one.path) > 0 or one.validator in ("additionalProperties", "required")]
    if not fitting:
        yield error
    for one in fitting:
        yield from _leaves(one)


def _problems(error: Any) -> Iterator[Problem]:
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in error.instance:
            if key not in known:
                yield _unknown(f"{path}.{key}".lstrip("."), str(key), known)
    elif error.validator == "required":
        missing = next(name for name in error.validator_value if f"'{name}'" in error.message.partition(" is a ")[0])
        what = error.schema["properties"][missing].get("x-must", "a mapping of keys to values")
        yield Problem(f"{path}.{missing}".lstrip("."), "is missing", f"give {what}")
    else:
        yield _wrong(path, error)


def _unknown(path: str, key: str, known: list[str]) -> Problem:
    if key == "slots-in-budget":
        return Problem(path, "is not a limit of its own", "set wal_budget_bytes")
    close = difflib.get_close_matches(key, known, 1)
    return Problem(path, "unknown key", f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}")


def _wrong(path: str, error: Any) -> Problem:
    must = error.schema.get("x-must", "allowed here")
    if error.schema.get("x-secret"):
        hint = f"put the secret into an environment variable or a file and write {path or 'it'}: env:NAME or file:PATH"
        return Problem(path, f"(not shown) is not {must}", hint)
    return Problem(path, f"{shown(error.instance)} is not {must}")


def shown(value: Any) -> str:
    """Write a value for an error: short, and with the secrets of a connection string hidden."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        safe = redact_dsn(value) if "=" in value or "://" in value else value
        return repr(safe if len(safe) <= 60 else safe[:57] + "...")
    return {"True": "true", "False": "false", "None": "nothing"}.get(str(value), str(value))
