"""Look at which servers both sides are, and at the versions of what text and extensions rest on."""

from dataclasses import dataclass
from typing import ClassVar

import psycopg

from comparators.checks.identity import CHECKS, Collation, Identities, Identity, Server, judge_identity
from comparators.preflight import completed
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.schema import Reader

_DATABASE = "database_collation"


@dataclass(frozen=True, slots=True)
class IdentityProbe:
    """Compares servers, databases, collations and extensions."""

    asked: Asked
    group: ClassVar[str] = "identity"
    every_seconds: ClassVar[float] = 60.0
    looks: ClassVar[int] = 1

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once, as `samplers.probes.base.Probe.look` says."""
        both = Identities(
            read_identity(sides.source, "source", self.asked.own_schema),
            read_identity(sides.target, "target", self.asked.own_schema),
        )
        majors = {f"{side}_major": identity.server.major for side, identity in both.sides}
        return Reading(completed(judge_identity(both), CHECKS), majors)


def read_identity(connection: psycopg.Connection, side: str, own_schema: str) -> Identity:
    """Read what one side is.

    Raises:
        Retryable: ask again later.
    """
    server = Server(**select(connection, "identity_server")[0])
    reader = Reader(connection, side, own_schema)
    database = f"{_DATABASE}_15" if server.major >= 15 else _DATABASE
    clusters = reader.rows("identity", "system", _cluster)
    return Identity(
        server=server,
        cluster=clusters[0] if clusters else None,
        collations=(
            *reader.rows("identity", database, Collation, needed_as=_DATABASE),
            *reader.rows("identity", "collations", Collation),
        ),
        extensions=reader.rows("identity", "extensions", _extension),
        denied=reader.denied,
    )


def _cluster(system_identifier: str, started_at: float) -> tuple[str, float]:
    return system_identifier, started_at


def _extension(name: str, version: str) -> tuple[str, str]:
    return name, version


PROBE = IdentityProbe
