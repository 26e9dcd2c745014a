"""PgBouncer's configuration file: where its databases lead, and the same file leading elsewhere.

The file is the operator's. Only the parts of a database's line that the places name are changed; every other byte
stays, so that leading there and back gives the same file again where both places name the same keys.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comparators.errors import NeedsOperator, SettingInvalid

Place = Mapping[str, str]
"""Keys and values of PgBouncer's connection strings, as `host` and `port`."""

KEYS = ("host", "port", "dbname", "user")
"""What a place may name: the console shows these, so that what PgBouncer took can be read back."""

_SECTION = re.compile(r"[ \t]*\[(?P<name>[^\]]*)\]")
_ENTRY = re.compile(r"[ \t]*(?P<name>[^\s=;#%\[][^\s=]*)[ \t]*=(?P<words>.*)")
_PAIR = re.compile(r"\s*(?P<key>\w+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^\s']*)")
_BARE = re.compile(r"[^\s']+")


class EntryMissing(NeedsOperator):
    """A database has no line of its own in the file."""


def parse_place(words: str) -> dict[str, str]:
    """Read a place, as in `host=10.0.0.1 port=5432`.

    Raises:
        SettingInvalid: it is no such text, or names what PgBouncer's console does not show.
    """
    pairs = _pairs(words)
    place = {pair.key: pair.value for pair in pairs}
    odd = [key for key in place if key not in KEYS]
    if not place.get("host") or len(place) != len(pairs) or odd:
        raise SettingInvalid(
            f"a place names {', '.join(odd) or 'no host'}", hint="write it as in host=10.0.0.1 port=5432"
        )
    return place


def read_place(text: str, database: str) -> dict[str, str]:
    """Give the keys and values of one database's line; they may hold a password.

    Raises:
        EntryMissing: it has no line in this text.
    """
    return {pair.key: pair.value for pair in _pairs(_entry(text, database)["words"])}


def lead(text: str, databases: Sequence[str], to: Place, others: Sequence[Place]) -> str:
    """Give the same text with the databases' lines leading to a place.

    Args:
        others: the places that they may lead to now; what only these name is left out.
    Raises:
        EntryMissing: a database has no line in this text.
    """
    gone = {key for place in others for key in place} - set(to)
    for database in databases:
        entry = _entry(text, database)
        text = text[: entry.start("words")] + _led(entry["words"], to, gone) + text[entry.end("words") :]
    return text


def stage_file(path: Path, text: str) -> Path:
    """Write a text beside a file, with its owner and mode, and see it on the disk.

    Raises:
        NeedsOperator: the folder or the file's owner does not let us.
    """
    path = path.resolve()  # a link to it stays a link
    staged, part = _beside(path)
    with _told(path):
        old = path.stat()
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), old.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, staged)
    return staged


def replace_file(path: Path, text: str) -> None:
    """Put a text in the file's place at once, staged before or now; a crash leaves the old or the new one whole.

    Raises:
        NeedsOperator: the folder or the file's owner does not let us.
    """
    staged, _ = _beside(path.resolve())
    with _told(path):
        if not staged.exists() or staged.read_text() != text:
            staged = stage_file(path, text)
        os.replace(staged, path.resolve())


def settle_file(path: Path) -> None:
    """See that the file's place in its folder is on the disk, and that nothing staged is left.

    Raises:
        NeedsOperator: the folder does not let us.
    """
    path = path.resolve()
    with _told(path):
        for name in _beside(path):
            name.unlink(missing_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _beside(path: Path) -> tuple[Path, Path]:
    """Name what is staged, which is whole and on the disk, and what is still being written."""
    return path.with_name(f".{path.name}.next"), path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NeedsOperator(
            f"{path.name} cannot be replaced: {error.strerror}",
            hint="let the orchestrator's account write its folder and keep its owner",
        ) from error


@dataclass(frozen=True, slots=True)
class _Pair:
    key: str
    value: str
    start: int
    value_start: int
    end: int


def _pairs(words: str) -> list[_Pair]:
    pairs, at = [], 0
    while words[at:].strip():
        found = _PAIR.match(words, at)
        if found is None or found.end() == at:
            raise SettingInvalid("a connection string of PgBouncer cannot be read", hint="write it as in host=10.0.0.1")
        pairs.append(_Pair(found["key"], _bare(found["value"]), at, found.start("value"), found.end()))
        at = found.end()
    return pairs


def _led(words: str, to: Place, gone: set[str]) -> str:
    parts, seen, past = [], set(), 0
    for pair in _pairs(words):
        past = pair.end
        if pair.key in to:
            parts.append(words[pair.start : pair.value_start] + _quoted(to[pair.key]))
            seen.add(pair.key)
        elif pair.key not in gone:
            parts.append(words[pair.start : pair.end])
    parts += [f" {key}={_quoted(value)}" for key, value in to.items() if key not in seen]
    return "".join(parts) + words[past:]


def _entry(text: str, database: str) -> re.Match[str]:
    """Find a database's line; as PgBouncer does, let the last one count."""
    section, found, at = "", None, 0
    for line in text.splitlines(keepends=True):
        if header := _SECTION.match(line):
            section = header["name"]
        elif section == "databases" and (entry := _ENTRY.match(text, at)) and entry["name"] == database:
            found = entry
        at += len(line)
    if found is None:
        raise EntryMissing(
            f"{database} has no line of its own below [databases]",
            hint="write one, or name the file that %include takes it from as `config`",
        )
    return found


def _bare(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else "'" + value.replace("'", "''") + "'"
