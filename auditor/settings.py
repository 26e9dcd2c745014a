"""The configuration of one migration: read from its YAML file into frozen values.

Only secrets and AUDITOR_CONFIG come from the environment. Every error names the file, the setting, its value and
the reason.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auditor.cutover.settings import CutoverSettings, read_cutover
from auditor.dsn import redact_dsn
from auditor.quantities import end_of, parse_seconds, parse_size
from auditor.secret_ref import SecretRef
from auditor.settings_checks import document_problems, several
from auditor.settings_file import Problem, read_document
from auditor.side_settings import SideSettings, secret_at, side_at
from comparators.errors import SettingInvalid
from comparators.positions import Side
from orchestrator.seen import OverrideSeen

__all__ = [
    "CutoverSettings",
    "EvidenceSettings",
    "ExportSettings",
    "GateSettings",
    "KafkaSettings",
    "Names",
    "NudgeSettings",
    "ObjectLock",
    "ProbeSettings",
    "RateLimit",
    "ReplicationSettings",
    "SecretRef",
    "Settings",
    "Side",
    "SideSettings",
    "SweepSettings",
    "TableScope",
    "TlsSettings",
    "TokenSettings",
    "TopicNames",
    "config_path",
    "load",
    "problems",
    "redact_dsn",
]


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """The replication that is audited."""

    mode: str = "native"
    """`native`, PostgreSQL's logical replication; others are not built yet."""
    publications: tuple[str, ...] = ()
    """Publications on the source; at least one."""
    subscriptions: tuple[str, ...] = ()
    """Subscriptions on the target; at least one."""


@dataclass(frozen=True, slots=True)
class TableScope:
    """Which of the published tables are audited; patterns as of fnmatch, on `schema.table`."""

    include: tuple[str, ...] = ("*",)
    """Patterns to audit. Default everything, so that a forgotten table is noticed and not overlooked."""
    exclude: tuple[str, ...] = ()
    """Patterns to leave out; they win."""

    def selects(self, table: str) -> bool:
        """Say whether the table `schema.table` is to be audited."""
        return any(fnmatchcase(table, one) for one in self.include) and not any(
            fnmatchcase(table, one) for one in self.exclude
        )


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The Kafka cluster that carries frames and records."""

    bootstrap: tuple[str, ...]
    """Brokers to ask first, each `host:port`."""
    partitions: int = 2
    """Partitions of the changes topic; two keep two cores busy and the join small. Fixed once the topic exists."""
    replication_factor: int = 1
    """Copies of each partition; 1 works everywhere, production takes 3."""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Security settings by their kafka-python names; secrets as references. Clients take `client_options()`."""

    def client_options(self) -> dict[str, Any]:
        """Give the options with their secrets resolved, for a Kafka client only, never for a log.

        Raises:
            SettingInvalid: a secret cannot be read.
        """
        return {name: _option_value(name, value) for name, value in self.options.items()}


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """A bearer token that the gate accepts."""

    name: str
    """Who has it; shown in logs and records, where the token never is."""
    token: SecretRef
    """Where the token is; read again when its file changes and on SIGHUP."""
    scopes: tuple[str, ...]
    """What it allows: `read`, `consume`, `override`, `alert`, `cutover`."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the gate proves who it is, and which certificates it takes as proof of who asks."""

    certificate: Path
    """PEM file with the gate's certificate and those between it and its authority."""
    key: Path
    """PEM file with its key, without a password."""
    client_ca: Path | None = None
    """PEM file with the authorities of clients. None: no client is asked for a certificate."""
    clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Scopes by the name in a client's certificate: common name, DNS name, URI or e-mail address."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How much one client may ask."""

    requests_per_second: float = 2000
    """On average; twice what the gate is measured with."""
    burst: float = 4000
    """At once."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Where the gate answers and when it opens."""

    listen: str = "127.0.0.1:8432"
    """`host:port` of the HTTP service; loopback, as it has no log-in of its own."""
    allow_remote: bool = False
    """Listen on an address that other hosts reach; something else must then keep strangers away."""
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Limits that differ from the default, by the name of their condition."""
    dwell_seconds: float = 10
    """Seconds for which every condition must hold before PASS, so that a lucky moment opens nothing."""
    valid_seconds: float = 15
    """Seconds for which a verdict may be relied on; then it is stale."""
    tokens: tuple[TokenSettings, ...] = ()
    """Bearer tokens. Without tokens and client certificates nobody is asked who they are."""
    overrides: tuple[OverrideSeen, ...] = ()
    """What somebody takes responsibility for; the file can be read by whoever may change it, so it needs no log-in."""
    hysteresis: float = 0.8
    """Share of its limit to which a noisy number must come back after it was over the limit."""
    tls: TlsSettings | None = None
    """None: plain HTTP."""
    rate_limit: RateLimit = RateLimit()
    """How much one client may ask."""

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """Where a client on this host reaches the gate."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """For how long nobody may delete or change a bundle in S3."""

    mode: str = "governance"
    """`governance`: a few may lift it; `compliance`: nobody may."""
    days: int = 30
    """Days from the upload."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where evidence bundles go."""

    to: str = ""
    """A folder, or `s3://BUCKET/PREFIX`."""
    every_seconds: float = 3600
    """Seconds between two bundles; each goes on where the one before ended."""
    region: str | None = None
    """Region of the bucket; another one is refused. None: as the AWS environment says."""
    account: str | None = None
    """The account that must own the credentials and the bucket. None: any."""
    endpoint_url: str | None = None
    """Address of an S3 service other than AWS."""
    object_lock: ObjectLock | None = None
    """Lock each object. None: as the bucket's own default says."""


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """What findings may show, and where evidence of the verdicts goes."""

    values: str = "deny"
    """Always `deny`: row values are never stored."""
    keys: str = "hash"
    """`hash` shows HMACs of row keys, `clear` the keys: keys may be personal data, so hash."""
    key: SecretRef | None = None
    """Where the key for HMACs and encryption is. None: made at first use in the state folder."""
    export: ExportSettings | None = None
    """Where `auditor run` puts bundles of evidence. None: nowhere."""


@dataclass(frozen=True, slots=True)
class NudgeSettings:
    """Whether the target is made to flush its WAL, so that asynchronous commits are seen at once."""

    mode: str = "auto"
    """`auto`: always where it takes no transaction id (PostgreSQL 17+), else while somebody waits; `on`; `off`."""
    interval_ms: float = 5
    """Milliseconds between two nudges; as the window, since a later one could not help."""


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How the row audit sweeps the tables."""

    enabled: bool = True
    """Whether `auditor run` sweeps at all."""
    workers: int = 1
    """Tables swept at a time; one takes next to nothing from either server, each more takes as much again."""
    chunk_seconds: float = 0.3
    """Seconds that one statement on a piece of a table is to take; pieces are cut to it."""
    pause_seconds: float = 1
    """Seconds between the sweeps of two tables."""
    every_seconds: float = 60
    """Seconds from the end of a table's sweep to its next."""
    keyless_seconds: float = 600
    """Seconds that a statement may take where a table can only be read as a whole."""
    max_load: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Limits on the source's load that differ from the default, by signal; above one the sweeper waits."""


@dataclass(frozen=True, slots=True)
class SlotOwner:
    """Who answers for a slot on the source."""

    owner: str
    retained_bytes: int | None = None
    """WAL that it may hold back. None: as much as a slot of ours."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What is looked at beside the data, and what it is held against."""

    enabled: bool = True
    """Whether `auditor run` probes at all."""
    interval_seconds: float | None = None
    """Seconds between two looks of every probe. None: each probe's own interval."""
    known_slots: Mapping[str, SlotOwner] = field(default_factory=dict, hash=False)
    """Slots of others that somebody answers for, by name."""
    known_writers: tuple[str, ...] = ()
    """Roles that may write to the source. Empty: nobody said."""
    disk: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Bytes that databases and WAL of a side may take, by side."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Kafka topics of one migration."""

    changes: str
    records: str
    dead_letter: str
    verdicts: str


@dataclass(frozen=True, slots=True)
class Names:
    """What this migration's own objects are called."""

    schema: str
    source_slot: str
    target_slot: str
    publication: str
    publication_inserts: str
    topics: TopicNames

    @property
    def way_back(self) -> str:
        """What the way back of a cutover and the schema of its reverse audit are called."""
        return f"{self.schema}_back"

    @classmethod
    def of(cls, migration: str) -> "Names":
        """Name the objects: `-` becomes `_`, which no migration's name may contain, so names stay distinct."""
        own = f"auditor_{migration.replace('-', '_')}"
        kinds = ("changes", "records", "dead-letter", "verdicts")
        topics = TopicNames(*(f"auditor.{migration}.{kind}" for kind in kinds))
        return cls(own, f"{own}_source", f"{own}_target", own, f"{own}_inserts", topics)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the processes of one migration are told."""

    migration: str
    """Name in topics, labels and object names: [a-z0-9-]{1,40}, which leaves room within PostgreSQL's 63."""
    source: SideSettings
    """The database that is written to."""
    target: SideSettings
    """The database that replication writes to."""
    replication: ReplicationSettings
    """What is audited."""
    state_dir: Path
    """Folder for records, locks and the evidence key: `.auditor/MIGRATION` beside the file, made at first use."""
    tables: TableScope = TableScope()
    """Which tables are audited."""
    sampling_rate: float = 0.01
    """Share of transactions audited, 0 < rate <= 1; 1 % costs the source next to nothing."""
    window_ms: float = 5
    """Milliseconds from commit to applied within which a transaction is in the window."""
    transport: KafkaSettings | None = None
    """None: memory, all in one process; it needs nothing to be installed."""
    gate: GateSettings = GateSettings()
    """Where the gate answers and when it opens."""
    evidence: EvidenceSettings = EvidenceSettings()
    """What findings may show."""
    nudge: NudgeSettings = NudgeSettings()
    """Whether the target is made to flush."""
    sweep: SweepSettings = SweepSettings()
    """How the row audit sweeps the tables."""
    probes: ProbeSettings = ProbeSettings()
    """What is looked at beside the data."""
    mapping: Path | None = None
    """How tables are paired that differ by design. None: both sides look alike."""
    accepted_differences: Path | None = None
    """Differences and skipped tables that somebody takes responsibility for. None: nobody does."""
    reverse_of: str | None = None
    """The migration whose way back this audits: it begins at that one's commit line. None: it begins when prepared."""
    parked_slots: tuple[str, ...] = ()
    """Slots that a cutover has left on the target of this reverse audit: nobody reads them."""
    cutover: CutoverSettings | None = None
    """What a cutover acts through. None: this migration is audited only."""
    wal_budget_bytes: int = 1 << 30
    """Bytes of WAL that a slot of ours may hold back before it is dropped: the audit must never fill a user's disk."""

    file: Path | None = field(default=None, compare=False, repr=False)
    """The file that this was read from, for processes that are started with it."""

    @property
    def partitions(self) -> int:
        """Partitions of the changes topic."""
        return self.transport.partitions if self.transport else 2

    @property
    def names(self) -> Names:
        return Names.of(self.migration)

    def side(self, side: Side) -> SideSettings:
        return self.source if side is Side.SOURCE else self.target

    def check_secrets(self) -> None:
        """Read every secret of the audit once, so that a missing one is named at the start and not in the middle.

        Those of a cutover are read where one is planned or conducted: the audit's processes need not have them.

        Raises:
            SettingInvalid: one cannot be read.
        """
        self.source.conninfo()
        self.target.conninfo()
        if self.evidence.key:
            self.evidence.key.resolve()
        if self.transport:
            self.transport.client_options()

    def check_tokens(self) -> None:
        """Read every token of the gate's clients once; only where the gate is served they have to be there.

        Raises:
            SettingInvalid: one cannot be read.
        """
        for token in self.gate.tokens:
            token.token.resolve()

    def open_state_dir(self) -> Path:
        """Make the state folder, mode 700, unless it is there.

        Raises:
            SettingInvalid: it cannot be made or written to.
        """
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingInvalid(
                f"state_dir: {self.state_dir}: {error.strerror}", hint="name a folder this user can write to"
            ) from None
        if not os.access(self.state_dir, os.W_OK | os.X_OK):
            raise SettingInvalid(
                f"state_dir: {self.state_dir} is not writable", hint="name a folder this user can write to"
            )
        return self.state_dir


def config_path(given: Path | None) -> Path:
    """Choose the configuration file: the one given, else $AUDITOR_CONFIG, else ./auditor.yaml."""
    return given or Path(os.environ.get("AUDITOR_CONFIG") or "auditor.yaml")


def load(path: Path | None = None) -> Settings:
    """Read the settings of one migration.

    Args:
        path: the file; `None` looks at $AUDITOR_CONFIG, then ./auditor.yaml.
    Raises:
        SettingInvalid: names the file, the setting, its value, the reason and a way out.
    """
    file = config_path(path)
    document = read_document(file)
    for problem in document_problems(document):
        raise problem.error(file)
    return _settings(document, file)


def problems(path: Path | None = None) -> tuple[Path, list[Problem]]:
    """List everything that is wrong with a file, for a person to correct in one go.

    Raises:
        SettingInvalid: the file cannot be read at all.
    """
    file = config_path(path)
    return file, document_problems(read_document(file))


def _settings(document: Mapping[str, Any], file: Path) -> Settings:
    folder = file.absolute().parent
    migration = document["migration"]
    given = {
        "tables": _tables(document),
        "sampling_rate": document.get("sampling", {}).get("rate"),
        "window_ms": document.get("window_ms"),
        "transport": _transport(document.get("transport", "memory"), file, folder),
        "gate": _given(document, "gate", lambda value: _gate(value, file, folder)),
        "evidence": _given(document, "evidence", lambda value: _evidence(value, file, folder)),
        "nudge": _given(document, "nudge", _nudge),
        "sweep": _given(document, "sweep", _sweep),
        "probes": _given(document, "probes", _probes),
        "mapping": _given(document, "mapping", folder.joinpath),
        "accepted_differences": _given(document, "accepted_differences", folder.joinpath),
        "reverse_of": document.get("reverse_of"),
        "parked_slots": _given(document, "parked_slots", several),
        "cutover": _given(document, "cutover", lambda value: read_cutover(value, file, folder)),
        "wal_budget_bytes": _given(document, "wal_budget_bytes", parse_size),
    }
    return Settings(
        migration=migration,
        source=side_at(document["source"], f"{file}: source", folder),
        target=side_at(document["target"], f"{file}: target", folder),
        replication=_replication(document["replication"]),
        state_dir=folder / document.get("state_dir", f".auditor/{migration}"),
        file=file.absolute(),
        **{name: value for name, value in given.items() if value is not None},
    )


def _given(document: Mapping[str, Any], key: str, build: Callable[[Any], Any]) -> Any:
    return build(document[key]) if key in document else None


def _replication(value: Mapping[str, Any]) -> ReplicationSettings:
    return ReplicationSettings(
        value.get("mode", "native"), several(value["publication"]), several(value["subscription"])
    )


def _tables(document: Mapping[str, Any]) -> TableScope | None:
    """Read the scope; the tables by which a cutover proves its way back are in nobody's."""
    scope: TableScope | None = _given(document, "tables", _scope)
    if "cutover" not in document:
        return scope
    scope = scope or TableScope()
    return replace(scope, exclude=(*scope.exclude, f"{Names.of(document['migration']).way_back}.*"))


def _scope(value: Mapping[str, Any]) -> TableScope:
    return TableScope(**{name: several(patterns) for name, patterns in value.items()})


def _transport(value: Any, file: Path, folder: Path) -> KafkaSettings | None:
    if value == "memory":
        return None
    kafka = value["kafka"]
    brokers = [one.strip() for text in several(kafka["bootstrap"]) for one in text.split(",")]
    numbers = {name: kafka[name] for name in ("partitions", "replication_factor") if name in kafka}
    options = {name: _option_text(name, text, file, folder) for name, text in kafka.get("options", {}).items()}
    return KafkaSettings(tuple(brokers), **numbers, options=MappingProxyType(options))


def _option_text(name: str, value: Any, file: Path, folder: Path) -> str:
    if name.endswith("password"):
        secret = secret_at(value, f"{file}: transport.kafka.options.{name}", folder)
        return secret.reference if secret else ""
    if name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"):
        return str(folder / value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _option_value(name: str, text: str) -> Any:
    if name.endswith("password"):
        return SecretRef(text, f"transport.kafka.options.{name}").resolve()
    return text == "true" if name == "ssl_check_hostname" else text


def _gate(value: Mapping[str, Any], file: Path, folder: Path) -> GateSettings:
    built = {
        "limits": MappingProxyType(dict(value.get("limits", {}))),
        "tokens": tuple(_token(token, f"{file}: gate.tokens", folder) for token in value.get("tokens", ())),
        "tls": _given(value, "tls", lambda tls: _tls(tls, folder)),
        "rate_limit": RateLimit(**value.get("rate_limit", {})),
        "overrides": tuple(_override(number, one) for number, one in enumerate(value.get("overrides", ()))),
    }
    return GateSettings(**{name: item for name, item in value.items() if name not in built}, **built)


def _override(number: int, value: Mapping[str, Any]) -> OverrideSeen:
    """Read an override; it is in force from the start, as the file does not say since when it is there."""
    given = {name: value.get(name) for name in ("condition", "item", "owner", "reason")}
    return OverrideSeen(f"config-{number}", **given, at=0.0, until=end_of(value["until"]))


def _probes(value: Mapping[str, Any]) -> ProbeSettings:
    slots = {
        name: SlotOwner(one["owner"], parse_size(one["retained"]) if "retained" in one else None)
        for name, one in value.get("known_slots", {}).items()
    }
    built: dict[str, Any] = {
        "known_slots": MappingProxyType(slots),
        "known_writers": tuple(value.get("known_writers", ())),
        "disk": MappingProxyType({side: parse_size(size) for side, size in value.get("disk", {}).items()}),
    }
    return ProbeSettings(**{name: item for name, item in value.items() if name not in built}, **built)


def _token(value: Mapping[str, Any], where: str, folder: Path) -> TokenSettings:
    secret = secret_at(value["token"], f"{where}: {value['name']}", folder)
    assert secret is not None
    return TokenSettings(value["name"], secret, several(value["scopes"]))


def _tls(value: Mapping[str, Any], folder: Path) -> TlsSettings:
    files = {name: folder / value[name] for name in ("certificate", "key", "client_ca") if name in value}
    clients = {name: several(scopes) for name, scopes in value.get("clients", {}).items()}
    return TlsSettings(**files, clients=MappingProxyType(clients))


def _evidence(value: Mapping[str, Any], file: Path, folder: Path) -> EvidenceSettings:
    key = secret_at(value.get("key"), f"{file}: evidence.key", folder)
    export = _given(value, "export", lambda given: _export(given, folder))
    plain = {name: item for name, item in value.items() if name not in ("key", "export")}
    return EvidenceSettings(**plain, key=key, export=export)


def _export(value: Mapping[str, Any], folder: Path) -> ExportSettings:
    to = value["to"] if value["to"].startswith("s3://") else str(folder / value["to"])
    more: dict[str, Any] = {name: value[name] for name in ("region", "account", "endpoint_url") if name in value}
    if "every" in value:
        more["every_seconds"] = parse_seconds(value["every"])
    if "object_lock" in value:
        more["object_lock"] = ObjectLock(**value["object_lock"])
    return ExportSettings(to, **more)


def _nudge(value: Any) -> NudgeSettings:
    detail = dict(value) if isinstance(value, Mapping) else {"mode": value}
    if isinstance(mode := detail.get("mode"), bool):  # YAML 1.1 reads on and off as booleans
        detail["mode"] = "on" if mode else "off"
    return NudgeSettings(**detail)


def _sweep(value: Mapping[str, Any]) -> SweepSettings:
    limits = MappingProxyType(dict(value.get("max_load", {})))
    return SweepSettings(**{name: item for name, item in value.items() if name != "max_load"}, max_load=limits)
