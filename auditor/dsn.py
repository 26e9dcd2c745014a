"""Connection strings: read far enough to hide what is secret in them and to add a password.

libpq alone decides what a connection string means; this module knows its two spellings only, `key=value ...` and `postgresql://...`.
Whatever it cannot read it does not show.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote

SECRET_KEYS = frozenset({"password", "sslpassword", "oauth_client_secret", "passfile_password"})
_PAIR = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|(?=\s|$))", re.DOTALL
)
_URI = re.compile(r"(postgres(?:ql)?://)(?:([^/?#]*)@)?(.*)", re.DOTALL)
_UNREADABLE = "(a connection string that cannot be read)"


def redact_dsn(dsn: str) -> str:
    """Write a connection string with `***` in place of each secret."""
    if found := _URI.fullmatch(dsn):
        return _redact_uri(*found.groups(default=""))
    try:
        pairs = list(_pairs(dsn))
    except ValueError:
        return _UNREADABLE
    return " ".join(f"{key}=***" if key.lower() in SECRET_KEYS else f"{key}={value}" for key, value in pairs)


def has_password(dsn: str) -> bool:
    """Say whether the connection string itself holds the password."""
    if found := _URI.fullmatch(dsn):
        user, rest = found[2] or "", found[3]
        return ":" in user or "password=" in rest.partition("?")[2]
    return any(key.lower() == "password" for key, _ in _pairs(dsn))


def add_password(dsn: str, password: str) -> str:
    """Write the connection string with a password added."""
    if _URI.fullmatch(dsn):
        return f"{dsn}{'&' if '?' in dsn else '?'}password={quote(password, safe='')}"
    escaped = password.replace("\\", "\\\\").replace("'", "\\'")
    return f"{dsn} password='{escaped}'"


def check_dsn(dsn: str) -> None:
    """Refuse what is neither spelling.

    Raises:
        ValueError: the text is no connection string; the error does not repeat it.
    """
    if not _URI.fullmatch(dsn) and not list(_pairs(dsn)):
        raise ValueError("is empty")


def _pairs(dsn: str) -> Iterator[tuple[str, str]]:
    at = 0
    while dsn[at:].strip():
        if (found := _PAIR.match(dsn, at)) is None:
            raise ValueError("is not a connection string such as host=10.0.0.1 dbname=app user=auditor")
        yield found[1], found[2]
        at = found.end()


def _redact_uri(scheme: str, user: str, rest: str) -> str:
    name, colon, _ = user.partition(":")
    shown = f"{name}:***@" if colon else f"{name}@" if name else ""
    if "@" in rest.partition("?")[0]:  # an unescaped @ or / in the password: where it ends is a guess
        return f"{scheme}***"
    head, mark, query = rest.partition("?")
    fields = [_redact_field(field) for field in query.split("&")] if mark else []
    return f"{scheme}{shown}{head}{mark}{'&'.join(fields)}"


def _redact_field(field: str) -> str:
    key, _, _ = field.partition("=")
    return f"{key}=***" if key.lower() in SECRET_KEYS else field
