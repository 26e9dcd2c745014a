"""A server's errors by what the catcher should do next, judged by SQLSTATE; by libpq's words where it has none."""

from collections.abc import Mapping

from comparators.errors import (
    AuditorError,
    NeedsOperator,
    NotPermitted,
    NotReady,
    PositionLost,
    Retryable,
    SettingInvalid,
    SideUnavailable,
)


class StatementCancelled(Retryable):
    """A statement took longer than it may, or was cancelled; ask again, later or for less."""


class Locked(StatementCancelled):
    """Somebody holds a lock that every read of the table waits for; asking for less does not help."""


def wrapped(message: str, sqlstate: str | None, doing: str) -> AuditorError:
    """Sort a server's error by what to do next.

    Args:
        message: the server's or libpq's words; they hold no password.
        sqlstate: five letters, or `None` where libpq does not tell it, as while connecting.
        doing: what was tried, for people.
    """
    text = f"{doing}: {' '.join(message.split())}"
    state = sqlstate or _guessed(message)
    for sort in (_rights, _position, _patience, _settings):
        if (found := sort(state, message, text)) is not None:
            return found
    return SideUnavailable(text)


def without_secrets(message: str, params: Mapping[str, object]) -> str:
    """Blot out what must not be shown, should libpq ever repeat it.

    Args:
        params: the connection string's parts.
    """
    for key in ("password", "sslpassword", "oauth_client_secret"):
        if secret := params.get(key):
            message = message.replace(str(secret), "***")
    for key in ("host", "dbname"):  # an @ in a password that is not written as %40 leaves the rest of it there
        if "@" in (value := str(params.get(key) or "")):
            message = message.replace(value, "***")
    return message


_WORDS = {
    "password authentication failed": "28P01",
    "authentication failed": "28000",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "is not permitted to log in": "28000",
    "permission denied": "42501",
}
"""While connecting, libpq keeps the SQLSTATE to itself; a server that speaks another language is merely asked again."""


def _guessed(message: str) -> str:
    for words, state in _WORDS.items():
        if words in message:
            return state
    missing = "does not exist" in message
    return "3D000" if missing and 'database "' in message else "28000" if missing and 'role "' in message else ""


def _rights(state: str, message: str, text: str) -> AuditorError | None:
    if state == "42501":
        return NotPermitted(text, hint="grant the role what docs/security.md lists")
    if state[:2] == "28":
        return NotPermitted(text, hint="check user and password reference of this side, and pg_hba.conf")
    return None


def _position(state: str, message: str, text: str) -> AuditorError | None:
    if state == "42704" and "publication" in message:
        return NeedsOperator(text, hint="run `auditor prepare`; it says what is missing")
    if state in ("42704", "55000") and "replication slot" in message:
        return PositionLost(text, hint="run `auditor prepare --new-baseline`")
    if state == "58P01" or "can no longer get changes" in message:
        return PositionLost(text, hint="run `auditor prepare --new-baseline`")
    return None


def _patience(state: str, message: str, text: str) -> AuditorError | None:
    if state == "55P03":
        return Locked(text)
    if state in ("57014", "25P03", "57P05"):
        return StatementCancelled(text)
    if state == "55006" or state[:2] == "40":
        return NotReady(text)
    return None


def _settings(state: str, message: str, text: str) -> AuditorError | None:
    if state == "3D000":
        return SettingInvalid(text, hint="name an existing database in the dsn")
    if state == "25006":
        return SettingInvalid(text, hint="let the dsn name the primary server, and a role that may write")
    return None
