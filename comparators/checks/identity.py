"""Which servers these are, and whether text means and sorts the same on both."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from comparators.checks.judges import Denials, Grade, graded, judge, judged, named
from comparators.preflight import Check, Item, ItemStatus, found, unknown

BLOCKS, WARN, OK = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN, ItemStatus.OK
MAJORS = range(14, 19)
"""Versions whose catalogs and formats the audit knows."""


@dataclass(frozen=True, slots=True)
class Server:
    """One side's server and the locale of its database."""

    version: int
    """As in `server_version_num`."""
    encoding: str
    collate: str
    ctype: str
    provider: str
    """`c` libc, `i` ICU, `b` built in."""
    locale: str | None = None

    @property
    def major(self) -> int:
        return self.version // 10000


@dataclass(frozen=True, slots=True)
class Collation:
    """A collation that columns or indexes rest on."""

    name: str
    recorded: str | None
    """The version with which the catalog says that indexes were built."""
    actual: str | None
    """The version of the library that compares now; `None`: it has none, as C has not."""
    keeps_version: bool = True
    """This server records one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One side."""

    server: Server
    cluster: tuple[str, float] | None = None
    """System identifier, and unix seconds at which its postmaster started."""
    collations: tuple[Collation, ...] = ()
    extensions: tuple[tuple[str, str], ...] = ()
    """Name and version."""
    denied: Denials = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identities:
    """Both sides."""

    source: Identity
    target: Identity

    @property
    def sides(self) -> tuple[tuple[str, Identity], ...]:
        return ("source", self.source), ("target", self.target)


def _clusters(name: str, both: Identities) -> Item:
    one, other = both.source.cluster, both.target.cluster
    if one is None or other is None:
        return unknown(name, "the system identifier of a side was not read")
    alike = ("one cluster",) if one[0] == other[0] else ()
    return graded(
        name,
        "source and target are two clusters",
        Grade(BLOCKS, alike if one == other else (), "source and target are in the same cluster",
              "check the connection strings of source.dsn and target.dsn"),
        Grade(WARN, alike, "one side began as a physical copy of the other: both have the same system identifier",
              "make sure that none of them still follows the other physically"),
    )  # fmt: skip


def _versions(name: str, both: Identities) -> Item:
    odd = [f"{side}: {identity.server.major}" for side, identity in both.sides if identity.server.major not in MAJORS]
    return found(
        name, BLOCKS, odd, "the audit has not been tried with these versions of PostgreSQL",
        f"use versions {MAJORS[0]} to {MAJORS[-1]}",
        f"source {both.source.server.major}, target {both.target.server.major}",
    )  # fmt: skip


def _order(name: str, both: Identities) -> Item:
    source, target = both.source.server.major, both.target.server.major
    older = (f"source {source}, target {target}",) if target < source else ()
    return found(
        name, WARN, older, "the target is an older version: what the source can do it may not",
        "use a target of the source's version or a newer one", "the target is not older",
    )  # fmt: skip


def _encodings(name: str, both: Identities) -> Item:
    one, other = both.source.server.encoding, both.target.server.encoding
    return found(
        name, BLOCKS, (f"source {one}, target {other}",) if one != other else (),
        "the databases have other encodings: some texts cannot be stored",
        f"create the target's database with ENCODING '{one}' TEMPLATE template0", f"both {one}",
    )  # fmt: skip


def _locales(name: str, both: Identities) -> Item:
    one, other = _locale(both.source.server), _locale(both.target.server)
    differing = [f"{what}: source {one[what]}, target {other[what]}" for what in one if one[what] != other[what]]
    return found(
        name, WARN, differing, "the databases order or fold text otherwise: queries may answer in another order",
        "create the target's database with the source's LC_COLLATE, LC_CTYPE and LOCALE_PROVIDER", "the same",
    )  # fmt: skip


def _locale(server: Server) -> dict[str, str]:
    names = {"c": "libc", "i": "icu", "b": "builtin"}
    return {
        "provider": names.get(server.provider, server.provider),
        "lc_collate": _plain(server.collate),
        "lc_ctype": _plain(server.ctype),
        "locale": server.locale or "none",
    }


def _plain(locale: str) -> str:
    """Write a locale of the C library one way: en_US.utf8 is en_US.UTF-8, and POSIX is C."""
    text = re.sub(r"\.utf-?8$", ".UTF-8", locale, flags=re.IGNORECASE)
    return "C" if text == "POSIX" else text


def _recorded(name: str, both: Identities) -> Item:
    moved = [_on(side, one) for side, one in _collations(both) if one.recorded not in (None, one.actual)]
    unrecorded = [
        _on(side, one) for side, one in _collations(both)
        if one.keeps_version and one.recorded is None and one.actual is not None
    ]  # fmt: skip
    old = sorted({side for side, one in _collations(both) if not one.keeps_version and one.actual is not None})
    return graded(
        name,
        "each is the one that indexes were built with",
        Grade(BLOCKS, moved, "the collation's version is not the one that indexes were built with: "
              "they may miss rows or let duplicates in",
              "REINDEX what uses it, then ALTER DATABASE NAME (or ALTER COLLATION NAME) REFRESH COLLATION VERSION"),
        Grade(WARN, unrecorded, "no version is recorded, so a change would not be seen",
              "REINDEX if in doubt, then ALTER DATABASE NAME (or ALTER COLLATION NAME) REFRESH COLLATION VERSION"),
        Grade(WARN, old, "PostgreSQL 14 does not record the version of the database's collation",
              "REINDEX text indexes if the operating system was changed since they were built"),
    )  # fmt: skip


def _collations(both: Identities) -> Iterable[tuple[str, Collation]]:
    return ((side, one) for side, identity in both.sides for one in identity.collations)


def _on(side: str, collation: Collation) -> str:
    said = collation.recorded or "none"
    return f"{side}: {collation.name} (recorded {said}, now {collation.actual or 'none'})"


def _alike(name: str, both: Identities) -> Item:
    there = {one.name: one.actual for one in both.target.collations}
    differing = [
        f"{one.name} (source {one.actual or 'none'}, target {there[one.name] or 'none'})"
        for one in both.source.collations if one.name in there and there[one.name] != one.actual
    ]  # fmt: skip
    return found(
        name, WARN, differing, "the two sides compare text by other versions of a collation",
        "expect another order of text after the cutover; rows are compared by their bytes", "the same versions",
    )  # fmt: skip


def _extensions(name: str, both: Identities) -> Item:
    missing = [extension for extension, _ in both.source.extensions if extension not in dict(both.target.extensions)]
    return found(
        name, BLOCKS, missing, "the target lacks extensions that the source has",
        "on the target: CREATE EXTENSION NAME, once its package is installed",
        f"the target has all of them: {named(dict(both.source.extensions)) or 'none'}",
    )  # fmt: skip


def _extension_versions(name: str, both: Identities) -> Item:
    there = dict(both.target.extensions)
    older = [
        f"{extension} (source {version}, target {there[extension]})" for extension, version in both.source.extensions
        if extension in there and _numbers(there[extension]) < _numbers(version)
    ]  # fmt: skip
    return found(
        name, WARN, older, "the target has older versions of extensions",
        "on the target: ALTER EXTENSION NAME UPDATE", "not older on the target",
    )  # fmt: skip


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)]


_here = functools.partial(judge, "identity")
_JUDGES = (
    _here("clusters-differ", "source and target are two clusters", _clusters, ("system",)),
    _here("versions-known", "both sides run versions of PostgreSQL that the audit knows", _versions),
    _here("version-order", "the target's major version is not older than the source's", _order),
    _here("encodings-alike", "both databases have the same encoding", _encodings),
    _here("locales-alike", "both databases have the same collation, character type and provider", _locales),
    _here("collation-versions", "on each side the collations have the versions that indexes were built with",
          _recorded, ("collations", "database_collation")),
    _here("collations-alike", "both sides compare text by the same versions of collations", _alike,
          ("collations", "database_collation")),
    _here("extensions-present", "the target has every extension of the source", _extensions, ("extensions",), True),
    _here("extension-versions", "the target's extensions are not older", _extension_versions, ("extensions",)),
)  # fmt: skip
CHECKS: tuple[Check, ...] = tuple(each.check for each in _JUDGES)


def judge_identity(both: Identities) -> tuple[Item, ...]:
    """Make every check of the group."""
    return tuple(judged(_JUDGES, both, (both.source.denied, both.target.denied)))
