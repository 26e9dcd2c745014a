"""What `prepare` and `teardown` find on both sides, and whether the pair can be audited at all. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from psycopg import Connection

from comparators.errors import NeedsOperator, NotPermitted, SettingInvalid
from comparators.positions import Side
from samplers import catalog
from samplers.catalog import Publication, PublishedTable, ServerFacts, Subscription, TableShape
from samplers.slots import OURS, SlotState, inspect_slots

CONTROL_TABLES = ("marker", "canary")
OLDEST_VERSION = 140000


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """What is to be prepared or torn down, as plain values."""

    source_conninfo: str = field(repr=False)
    target_conninfo: str = field(repr=False)
    publications: tuple[str, ...]
    """The user's own, on the source."""
    subscriptions: tuple[str, ...]
    """The user's own, on the target."""
    schema: str
    """Our schema on both sides; the other four name our objects too."""
    source_slot: str
    target_slot: str
    publication: str
    publication_inserts: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    without_canary: bool = False
    """Go on without marker and canary tables where the rights for them are missing."""
    new_baseline: bool = False
    """Begin anew, with new slots."""
    baseline: Mapping[str, Any] | None = None
    """The one recorded earlier."""
    parked: bool = False
    """The subscriptions may be disabled: a cutover enables them when it commits."""
    slot_seconds: float = 60
    """How long a new slot may wait for transactions that have written."""
    wait_seconds: float = 30
    """How long teardown waits for the target to pass the last change of our tables."""

    def selects(self, table: str) -> bool:
        """Say whether the table `schema.table` is to be audited."""
        included = any(fnmatchcase(table, one) for one in self.include)
        return included and not any(fnmatchcase(table, one) for one in self.exclude)

    @property
    def control_tables(self) -> tuple[str, ...]:
        return tuple(f"{self.schema}.{name}" for name in CONTROL_TABLES)


@dataclass(frozen=True, slots=True)
class SideSurvey:
    """What one side has."""

    facts: ServerFacts
    slots: Mapping[str, SlotState]
    publications: Mapping[str, Publication]
    members: Mapping[str, frozenset[str]]
    """Tables that each publication names itself."""
    tables: Mapping[str, TableShape]
    subscriptions: Mapping[str, Subscription]
    schema_exists: bool
    schema_owned: bool
    own_tables: frozenset[str]
    """Names of the relations in our schema."""

    def consumers(self, known: frozenset[str]) -> list[str]:
        """List slots by which somebody else may read this database's publications.

        Args:
            known: slots of the subscriptions that are audited.
        """
        return [
            slot.name
            for slot in self.slots.values()
            if slot.plugin == "pgoutput" and slot.database == self.facts.database and slot.name not in known
            and not slot.name.startswith(OURS) and "_sync_" not in slot.name
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Survey:
    """What both sides have."""

    source: SideSurvey
    target: SideSurvey
    published: Mapping[str, PublishedTable]
    """By the migration's publications."""
    published_to: Mapping[str, frozenset[str]]
    """For each audited subscription, what its publications hold on the source."""

    def side(self, side: Side) -> SideSurvey:
        return self.source if side is Side.SOURCE else self.target


def survey_side(connection: Connection, schema: str) -> SideSurvey:
    """Look at one side."""
    publications = catalog.publications(connection)
    exists, owned, own = catalog.own_tables(connection, schema)
    return SideSurvey(
        facts=catalog.server_facts(connection), slots=inspect_slots(connection), publications=publications,
        members=catalog.publication_members(connection, list(publications)), tables=catalog.tables(connection),
        subscriptions=catalog.subscriptions(connection), schema_exists=exists, schema_owned=owned, own_tables=own,
    )  # fmt: skip


def take_survey(source: Connection, target: Connection, request: PrepareRequest) -> Survey:
    """Look at both sides."""
    there = survey_side(target, request.schema)
    published = catalog.published_tables(source, request.publications)
    return Survey(
        source=survey_side(source, request.schema), target=there,
        published={table.full_name: table for table in published},
        published_to={
            name: frozenset(t.full_name for t in catalog.published_tables(source, found.publications))
            for name, found in there.subscriptions.items() if name in request.subscriptions
        },
    )  # fmt: skip


def check_pair(survey: Survey, request: PrepareRequest) -> None:
    """Refuse a pair that cannot be audited as it is.

    Raises:
        NeedsOperator, SettingInvalid, NotPermitted: the first reason found, with what to do about it.
    """
    for side in Side:
        _check_server(side, survey.side(side).facts)
    source, target = survey.source.facts, survey.target.facts
    if (source.system_identifier, source.database_oid) == (target.system_identifier, target.database_oid):
        raise SettingInvalid("source and target are the same database", hint="correct one of the two dsn")
    _check_publications(survey, request)
    for name in request.subscriptions:
        _check_subscription(survey, request, name)
    _check_owners(survey, request)
    _check_slots(survey, request)


def _check_server(side: Side, facts: ServerFacts) -> None:
    if facts.version < OLDEST_VERSION:
        raise NeedsOperator(f"{side}: PostgreSQL {facts.version // 10000} is too old", hint="14 or newer")
    if facts.in_recovery:
        raise NeedsOperator(f"{side}: the server is a standby", hint="let the dsn name the primary")
    if facts.wal_level != "logical":
        raise NeedsOperator(
            f"{side}: wal_level is {facts.wal_level}; the audit decodes the WAL of both sides",
            hint="set wal_level = logical and restart (Amazon RDS: rds.logical_replication = 1;"
            " Cloud SQL: cloudsql.logical_decoding = on; Azure: wal_level in the server parameters)",
        )
    if not facts.may_replicate:
        raise NotPermitted(
            f"{side}: role {facts.role} may not replicate",
            hint=f"ALTER ROLE {facts.role} REPLICATION (Amazon RDS: GRANT rds_replication TO {facts.role})",
        )


def _check_publications(survey: Survey, request: PrepareRequest) -> None:
    for name in request.publications:
        if name in survey.source.publications:
            continue
        if name in survey.target.publications:
            raise SettingInvalid(
                f"publication {name} is on the target and not on the source", hint="are source and target swapped?"
            )
        raise SettingInvalid(
            f"source: publication {name} does not exist in database {survey.source.facts.database}",
            hint=f"existing ones: {_listed(survey.source.publications)}",
        )


def _check_subscription(survey: Survey, request: PrepareRequest, name: str) -> None:
    found = survey.target.subscriptions.get(name)
    if found is None and name in survey.source.subscriptions:
        raise SettingInvalid(
            f"subscription {name} is on the source and not on the target", hint="are source and target swapped?"
        )
    if found is None:
        raise SettingInvalid(
            f"target: subscription {name} does not exist in database {survey.target.facts.database}",
            hint=f"existing ones: {_listed(survey.target.subscriptions)}",
        )
    if not found.enabled and not request.parked:
        raise NeedsOperator(
            f"target: subscription {name} is disabled",
            hint=f"see the target's log for the reason, then ALTER SUBSCRIPTION {name} ENABLE",
        )
    slot = survey.source.slots.get(found.slot_name or "")
    if slot is None or slot.database != survey.source.facts.database:
        raise NeedsOperator(
            f"target: subscription {name} reads slot {found.slot_name}, which this database on the source has not",
            hint="is this the database that the subscription replicates from?",
        )


def _check_owners(survey: Survey, request: PrepareRequest) -> None:
    """Make sure that each publication is subscribed, and each table by one subscription only (ruling 5)."""
    audited = [survey.target.subscriptions[name] for name in request.subscriptions]
    used = {publication for subscription in audited for publication in subscription.publications}
    if unused := [name for name in request.publications if name not in used]:
        raise SettingInvalid(
            f"publication {unused[0]} is not used by {_listed(request.subscriptions)}",
            hint=f"used: {_listed(sorted(used))}",
        )
    seen: dict[str, str] = {}
    for subscription in audited:
        for table in sorted(subscription.table_names):
            if table in seen:
                raise NeedsOperator(
                    f"table {table} belongs to the subscriptions {seen[table]} and {subscription.name}",
                    hint="let one subscription bring it",
                )
            seen[table] = subscription.name


def _check_slots(survey: Survey, request: PrepareRequest) -> None:
    for side, name in ((Side.SOURCE, request.source_slot), (Side.TARGET, request.target_slot)):
        facts, found = survey.side(side).facts, survey.side(side).slots.get(name)
        if found is None and facts.slots_used >= facts.slots_allowed:
            raise NeedsOperator(
                f"{side}: all {facts.slots_allowed} replication slots are in use",
                hint="raise max_replication_slots (and max_wal_senders) and restart, or drop a slot nobody needs",
            )
        if found is not None and (found.plugin, found.database) != ("pgoutput", facts.database):
            raise NeedsOperator(
                f"{side}: slot {name} exists, with plug-in {found.plugin} in database {found.database}",
                hint="give the migration another name, or drop that slot",
            )


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
