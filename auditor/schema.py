"""The JSON Schema of the configuration file: the one list of its keys."""

from auditor.cutover.schema import CUTOVER
from auditor.schema_parts import Schema, server
from auditor.schema_parts import mapping as _object
from auditor.schema_parts import names as _names
from auditor.schema_parts import number as _number
from auditor.schema_parts import secret as _secret
from auditor.schema_parts import text as _text
from comparators.throttle import LIMITS as LOAD_LIMITS

# Limits that a file may set, by condition. Those in FIXED are apart: they are 0 and stay 0.
LIMITS: dict[str, tuple[float, str]] = {
    "oldest-suspect": (30, "Seconds for which a suspect may stay unsettled."),
    "samplers-alive": (5, "Seconds within which both samplers must have been heard from."),
    "core-alive": (5, "Seconds within which the core must have been heard from."),
    "watermark-age": (10, "Seconds by which the audited position may be old."),
    "sample-size": (
        300,
        "Sampled transactions needed since the start or the last gap; 300 clean ones: below 1 % bad, at 95 %.",
    ),
    "in-window-share": (0.99, "Share of sampled transactions that must arrive within `window_ms`, over the last 60 s."),
    "lag-ms": (10, "Milliseconds from commit to applied, 95th percentile over 10 s."),
    "lag-bytes": (1 << 20, "Bytes of WAL by which the target may trail."),
    "unaudited-gaps": (0, "Gaps in the audit that no sweep has made good."),
    "subscriptions-applying": (0, "Subscriptions that do not apply: disabled, without a worker, or in error."),
    "scope-complete": (0, "Included tables that are not published."),
    "coverage-age": (86400, "Seconds since the row that no sweep has read for longest was read."),
    "unverified-rows": (0, "Rows that the last sweeps could prove neither equal nor different."),
    "canary": (120, "Seconds since a planted difference that both audits found."),
    "prober-alive": (5, "Seconds within which the prober must have been heard from."),
    "marker-ms": (10, "Milliseconds that a marker takes to come through, 99th percentile."),
    "apply-stall": (10, "Seconds for which apply may stand still while the source's log grows."),
    "apply-headroom": (1, "How many times the source's peak apply must be able to drain."),
    "external-alerts": (0, "Alerts of other systems that may fire."),
}
FIXED: dict[str, tuple[str, str]] = {
    "open-findings": ("Confirmed findings.", "confirmed findings cannot be tolerated"),
    "base-scan": (
        "Tables without a complete sweep.", "a table that cannot be swept is excluded, or accepted by name"
    ),
    "preflight-identity": ("Items that block: which servers these are.", "items are accepted by name"),
    "preflight-settings": ("Items that block: settings of both servers.", "items are accepted by name"),
    "preflight-shape": ("Items that block: tables, columns, indexes and the like.", "items are accepted by name"),
    "preflight-sequences": ("Items that block: sequences.", "items are accepted by name"),
    "preflight-activity": ("Items that block: transactions and sessions.", "items are accepted by name"),
    "preflight-writers": ("Items that block: who writes.", "items are accepted by name"),
    "preflight-slots": ("Items that block: replication slots.", "items are accepted by name"),
    "preflight-replication": ("Items that block: replication of the tables.", "items are accepted by name"),
    "preflight-capacity": ("Items that block: disk, WAL and apply.", "items are accepted by name"),
    "ddl-drift": ("Changes of the schema that no sweep has followed.", "items are accepted by name"),
}  # fmt: skip
_SHARES = frozenset({"in-window-share"})


def _side(which: str) -> Schema:
    return server(which, secret_example="env:SOURCE_PASSWORD")


_REPLICATION = _object(
    "The replication that is audited: one that exists already.",
    {
        "mode": {
            "enum": ["native", "physical", "originless"],
            "default": "native",
            "description": "`native` is PostgreSQL's logical replication; the other two are not built yet.",
            "x-must": "native, physical or originless",
        },
        "publication": _names(
            "the name of a publication, or a list of names", "Publication(s) on the source.", examples=["app_pub"]
        ),
        "subscription": _names(
            "the name of a subscription, or a list of names", "Subscription(s) on the target.", examples=["app_sub"]
        ),
    },
    ("publication", "subscription"),
)

_PATTERN = r"^(\*|[^.]*\*[^.]*|.+\..+)$"
_TABLES = _object(
    "Which of the published tables are audited.",
    {
        "include": _names(
            'a pattern on "schema.table" such as public.*', "Patterns of the tables to audit.", _PATTERN, default=["*"]
        ),
        "exclude": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "pattern": _PATTERN}}],
            "default": [],
            "description": "Patterns of the tables to leave out; they win over `include`.",
            "x-must": 'a pattern on "schema.table" such as public.audit_*, or a list of them',
        },
    },
)

_SAMPLING = _object(
    "How much is looked at.",
    {
        "rate": _number(
            "a share between 0 and 1",
            "Share of transactions audited, above 0, at most 1. Foreign writes and TRUNCATE are seen at any rate.",
            exclusiveMinimum=0,
            maximum=1,
            default=0.01,
        )
    },
)

KAFKA_OPTIONS: dict[str, str] = {
    "security_protocol": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    "sasl_mechanism": "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI.",
    "sasl_plain_username": "User for PLAIN and SCRAM.",
    "sasl_plain_password": "Reference to the password for PLAIN and SCRAM.",
    "sasl_kerberos_service_name": "Kerberos service name.",
    "sasl_kerberos_domain_name": "Kerberos domain name.",
    "ssl_cafile": "File with the certificate authorities.",
    "ssl_certfile": "File with the client's certificate.",
    "ssl_keyfile": "File with the client's key.",
    "ssl_password": "Reference to the password of the client's key.",
    "ssl_crlfile": "File with revoked certificates.",
    "ssl_ciphers": "Ciphers allowed, as OpenSSL spells them.",
    "ssl_check_hostname": "`false` to accept a certificate for another host.",
}


def _option(name: str, description: str) -> Schema:
    if name.endswith("password"):
        return _secret(description)
    if name == "ssl_check_hostname":
        return {"type": "boolean", "default": True, "description": description, "x-must": "true or false"}
    if name == "security_protocol":
        kinds = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
        return {
            "enum": kinds,
            "default": "PLAINTEXT",
            "description": description,
            "x-must": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        }
    return _text("text", description, minLength=1)


_KAFKA = _object(
    "A Kafka cluster carries the frames and holds the records: each process may run on a host of its own.",
    {
        "bootstrap": _names(
            "host:port, host:port,host:port or a list of them",
            "Brokers to ask first.",
            r"^\s*\S+:[0-9]+\s*(,\s*\S+:[0-9]+\s*)*$",
            examples=["kafka1:9092"],
        ),
        "partitions": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1024,
            "default": 2,
            "description": "Partitions of the changes topic. Fixed once the topic exists.",
            "x-must": "a whole number from 1 to 1024",
        },
        "replication_factor": {
            "type": "integer",
            "minimum": 1,
            "maximum": 32767,
            "default": 1,
            "description": "Copies of each partition; 3 in production.",
            "x-must": "a whole number above 0",
        },
        "options": _object(
            "Security settings, passed on to the Kafka clients.",
            {name: _option(name, what) for name, what in KAFKA_OPTIONS.items()},
        ),
    },
    ("bootstrap",),
)

_TRANSPORT = {
    "anyOf": [{"const": "memory"}, _object("Kafka.", {"kafka": _KAFKA}, ("kafka",))],
    "default": "memory",
    "description": "What carries the frames: `memory` (one host, state in `state_dir`) or `{kafka: {...}}`.",
    "x-must": "memory or {kafka: {bootstrap: ...}}",
}


def _limit(name: str, default: float, description: str) -> Schema:
    if name in _SHARES:
        return _number("a share between 0 and 1", description, minimum=0, maximum=1, default=default)
    return _number("a number of 0 or more", description, minimum=0, default=default)


SCOPES = ("read", "consume", "override", "alert", "cutover")
"""What a client of the gate may be allowed to do."""
_SCOPES = {
    "anyOf": [{"enum": list(SCOPES)}, {"type": "array", "items": {"enum": list(SCOPES)}, "minItems": 1}],
    "description": "What it allows: `read` verdicts, `consume` them, `override` conditions, send an `alert`, steer a "
    "`cutover`.",
    "x-must": f"one of {', '.join(SCOPES)}, or a list of them",
}

_TOKEN = _object(
    "A bearer token.",
    {
        "name": _text(
            "a name of letters, digits, dots, hyphens and underscores",
            "Who has it; shown in logs and records.",
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            examples=["argo"],
        ),
        "token": _secret("Where the token is, at least 16 characters: `env:NAME` or `file:PATH`."),
        "scopes": _SCOPES,
    },
    ("name", "token", "scopes"),
)

_TLS = _object(
    "TLS of the gate, version 1.2 at least.",
    {
        "certificate": _text("a path", "PEM file with the gate's certificate and its chain.", minLength=1),
        "key": _text("a path", "PEM file with its key, without a password.", minLength=1),
        "client_ca": _text("a path", "PEM file with the authorities of clients' certificates.", minLength=1),
        "clients": {
            "type": "object",
            "description": "Scopes by the name in a client's certificate: CN, DNS name, URI or e-mail address.",
            "additionalProperties": _SCOPES,
            "x-must": "a mapping of names to scopes",
        },
    },
    ("certificate", "key"),
)

_RATE_LIMIT = _object(
    "How much one client (a token, a certificate, or else an address) may ask.",
    {
        "requests_per_second": _number(
            "a number above 0", "Requests a second, on average.", exclusiveMinimum=0, default=2000
        ),
        "burst": _number("a number of 1 or more", "Requests at once.", minimum=1, default=4000),
    },
)

_OVERRIDE = _object(
    "Somebody accepts a number that is over its limit, or one item of the checklist.",
    {
        "condition": _text("the name of a condition", "The condition, as the verdict names it.", minLength=1),
        "item": _text("the name of an item", "The item, where the condition counts items.", minLength=1),
        "owner": _text("the name of somebody", "Who takes responsibility.", pattern=r"\S"),
        "reason": _text("a reason in words", "Why it may be.", pattern=r"\S"),
        "until": _text(
            "a day or a time such as 2030-01-31 or 2030-01-31T12:00:00Z", "When it ends.", minLength=1
        ),
    },
    ("condition", "owner", "reason", "until"),
)  # fmt: skip

_GATE = _object(
    "The gate: where it answers and when it opens.",
    {
        "listen": _text(
            "host:port",
            "Where the gate answers HTTP.",
            pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}$",
            default="127.0.0.1:8432",
        ),
        "allow_remote": {
            "type": "boolean",
            "default": False,
            "description": "Listen on an address that other hosts reach, although tokens or TLS are missing.",
            "x-must": "true or false",
        },
        "tokens": {
            "type": "array",
            "items": _TOKEN,
            "default": [],
            "description": "Bearer tokens that the gate accepts.",
            "x-must": "a list of {name: ..., token: ..., scopes: [...]}",
        },
        "tls": _TLS,
        "rate_limit": _RATE_LIMIT,
        "limits": _object(
            "Limits by the name of their condition.",
            {name: _limit(name, default, what) for name, (default, what) in LIMITS.items()}
            | {
                name: {"const": 0, "default": 0, "description": f"{what} Always 0.", "x-must": f"0; {instead}"}
                for name, (what, instead) in FIXED.items()
            },
        ),
        "overrides": {
            "type": "array",
            "items": _OVERRIDE,
            "default": [],
            "description": "What somebody takes responsibility for, until when and why; never an invariant.",
            "x-must": "a list of {condition: ..., owner: ..., reason: ..., until: ...}",
        },
        "hysteresis": _number(
            "a share above 0 and at most 1",
            "After lag-ms, lag-bytes or marker-ms closed the gate it must come back below this share of its limit.",
            exclusiveMinimum=0,
            maximum=1,
            default=0.8,
        ),
        "dwell_seconds": _number(
            "a number of seconds, 0 or more", "How long every condition must hold before PASS.", minimum=0, default=10
        ),
        "valid_seconds": _number(
            "a number of seconds above 0", "How long a verdict may be relied on.", exclusiveMinimum=0, default=15
        ),
    },
)

_EXPORT = _object(
    "Where `auditor run` puts bundles of evidence, again and again.",
    {
        "to": _text(
            "a folder or s3://BUCKET/PREFIX",
            "A folder, or `s3://BUCKET/PREFIX`.",
            pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|(?!.*://).+)$",
            examples=["s3://acme-evidence/orders"],
        ),
        "every": {
            "anyOf": [
                {"type": "number", "minimum": 1},
                {"type": "string", "pattern": r"^[0-9]*[1-9][0-9]*(\.[0-9]+)?\s*(s|m|h|d)$"},
            ],
            "default": "1h",
            "description": "Time between two bundles; each goes on where the one before ended.",
            "x-must": "a time of 1 s or more, such as 15m or 1h",
        },
        "region": _text(
            "the name of a region",
            "Region of the bucket; one in another region is refused. Left out: as the AWS environment says.",
            minLength=1,
            examples=["eu-central-1"],
        ),
        "account": _text(
            "an AWS account, twelve digits in quotes",
            "The account that the credentials and the bucket must belong to.",
            pattern=r"^[0-9]{12}$",
            examples=["123456789012"],
        ),
        "endpoint_url": _text(
            "a URL",
            "Address of an S3 service other than AWS.",
            pattern=r"^https?://\S+$",
            examples=["http://10.0.0.9:9000"],
        ),
        "object_lock": _object(
            "Lock each object, so that nobody deletes or changes it. Left out: the bucket's own default.",
            {
                "mode": {
                    "enum": ["governance", "compliance"],
                    "default": "governance",
                    "description": "`governance`: a few may lift it. `compliance`: nobody may.",
                    "x-must": "governance or compliance",
                },
                "days": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 36500,
                    "default": 30,
                    "description": "Days from the upload.",
                    "x-must": "a whole number of days, 1 or more",
                },
            },
        ),
    },
    ("to",),
)

_EVIDENCE = _object(
    "What findings may show, and where evidence of the verdicts goes.",
    {
        "values": {
            "enum": ["deny"],
            "default": "deny",
            "description": "Row values are never stored.",
            "x-must": "deny; row values are never stored",
        },
        "keys": {
            "enum": ["hash", "clear"],
            "default": "hash",
            "description": "Keys of rows: as HMACs, or in clear.",
            "x-must": "hash or clear",
        },
        "key": _secret(
            "Where the key for HMACs and encryption is. Left out: made at first use in `state_dir/evidence.key`."
        ),
        "export": _EXPORT,
    },
)

_SIGNALS: dict[str, str] = {
    "active-sessions": "Sessions of others that are at work on the source.",
    "replica-lag-ms": "Milliseconds by which the source's slowest replica or subscriber trails.",
    "lock-waits": "Sessions of others on the source that wait for a lock.",
    "statement-seconds": "Seconds that a statement of the sweeper has been running on the source.",
}
_SWEEP = _object(
    "The row audit: how it sweeps the tables.",
    {
        "enabled": {
            "type": "boolean",
            "default": True,
            "description": "Whether `auditor run` sweeps the tables.",
            "x-must": "true or false",
        },
        "workers": {
            "type": "integer",
            "minimum": 1,
            "maximum": 32,
            "default": 1,
            "description": "Tables swept at a time.",
            "x-must": "a whole number from 1 to 32",
        },
        "chunk_seconds": _number(
            "a number of seconds above 0",
            "How long one statement on a piece of a table is to take; pieces are cut to it.",
            exclusiveMinimum=0,
            maximum=5,
            default=0.3,
        ),
        "pause_seconds": _number(
            "a number of seconds, 0 or more", "Pause between the sweeps of two tables.", minimum=0, default=1
        ),
        "every_seconds": _number(
            "a number of seconds, 0 or more", "From the end of a table's sweep to its next.", minimum=0, default=60
        ),
        "keyless_seconds": _number(
            "a number of seconds above 0",
            "How long a statement may take where a table can only be read as a whole.",
            exclusiveMinimum=0,
            default=600,
        ),
        "max_load": _object(
            "Load of the source above which the sweeper waits, by signal.",
            {
                name: _number("a number of 0 or more", what, minimum=0, default=LOAD_LIMITS[name])
                for name, what in _SIGNALS.items()
            },
        ),
    },
)

_SIZE = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*[A-Za-z]*$"},
    ],
    "x-must": "a size such as 1073741824 or 2GB",
}
_PROBES = _object(
    "The probes: what is looked at on both sides beside the data.",
    {
        "enabled": {
            "type": "boolean",
            "default": True,
            "description": "Whether `auditor run` probes; without it the gate stays closed.",
            "x-must": "true or false",
        },
        "interval_seconds": _number(
            "a number of seconds above 0, at most 10",
            "Seconds between two looks of every probe, in place of each probe's own interval.",
            exclusiveMinimum=0,
            maximum=10,
        ),
        "known_slots": {
            "type": "object",
            "default": {},
            "description": "Replication slots of the source that somebody answers for, by name.",
            "additionalProperties": _object(
                "A slot that somebody answers for.",
                {
                    "owner": _text("the name of somebody", "Who answers for it.", pattern=r"\S"),
                    "retained": _SIZE | {"description": "WAL that it may hold back; else `wal_budget_bytes`."},
                },
                ("owner",),
            ),
            "x-must": "a mapping of slots to {owner: ..., retained: ...}",
        },
        "known_writers": {
            "type": "array",
            "items": {"type": "string", "pattern": r"\S", "x-must": "the name of a role"},
            "default": [],
            "description": "Roles that may write to the source; with it any other role that does closes the gate.",
            "x-must": "a list of roles",
        },
        "disk": _object(
            "How large the disk of each side is, where PostgreSQL cannot tell.",
            {
                "source": _SIZE | {"description": "Bytes that databases and WAL of the source may take."},
                "target": _SIZE | {"description": "The same of the target."},
            },
        ),
    },
)

_MODES = {"enum": ["auto", "on", "off", True, False], "default": "auto", "x-must": "auto, on or off"}
_NUDGE = {
    "anyOf": [
        _MODES,
        _object(
            "The nudge in detail.",
            {
                "mode": _MODES
                | {"description": "`auto`: always from PostgreSQL 17 on, below only while somebody waits."},
                "interval_ms": _number(
                    "a number of milliseconds above 0", "How often the target is nudged.", exclusiveMinimum=0, default=5
                ),
            },
        ),
    ],
    "default": "auto",
    "description": "Whether a small message makes the target flush: asynchronous commits then show in 2 ms, not 200.",
    "x-must": "auto, on, off or {mode: ..., interval_ms: ...}",
}

SCHEMA: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Configuration of one migration",
} | _object(
    "One file per migration.",
    {
        "migration": _text(
            "a name of 1 to 40 letters a-z, digits and hyphens",
            "Name of the migration, in topics, labels, slots and publications (there with - as _).",
            pattern="^[a-z0-9-]{1,40}$",
            examples=["orders"],
        ),
        "source": _side("source: the database that is written to"),
        "target": _side("target: the database that replication writes to"),
        "replication": _REPLICATION,
        "tables": _TABLES,
        "sampling": _SAMPLING,
        "window_ms": _number(
            "a number of milliseconds above 0",
            "A transaction that is applied this soon after its commit is in the window.",
            exclusiveMinimum=0,
            default=5,
        ),
        "transport": _TRANSPORT,
        "state_dir": _text(
            "a path",
            "Where findings, tallies and locks are kept, mode 700. Relative paths count from the file's folder.",
            minLength=1,
            examples=["/var/lib/auditor/orders"],
        ),
        "gate": _GATE,
        "evidence": _EVIDENCE,
        "nudge": _NUDGE,
        "sweep": _SWEEP,
        "probes": _PROBES,
        "cutover": CUTOVER,
        "parked_slots": _names(
            "the name of a slot, or a list of names",
            "Slots that a cutover has left and nobody reads, in a file that a cutover writes.",
            examples=["app_sub"],
        ),
        "reverse_of": _text(
            "a name of 1 to 40 letters a-z, digits and hyphens",
            "Migration whose way back this audits, in a file that a cutover writes: it begins at the commit line.",
            pattern="^[a-z0-9-]{1,40}$",
            examples=["orders"],
        ),
        "mapping": _text(
            "a path",
            "File that pairs the tables of the row audit where the target differs by design.",
            minLength=1,
            examples=["mapping.yaml"],
        ),
        "accepted_differences": _text(
            "a path",
            "File of differences and skipped tables that somebody accepts by name, with a reason and until when.",
            minLength=1,
            examples=["accepted.yaml"],
        ),
        "wal_budget_bytes": {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*[A-Za-z]*$"},
            ],
            "default": 1 << 30,
            "description": "WAL that a slot of ours may hold back before it is dropped: bytes, or 512MiB.",
            "x-must": "a size such as 1073741824 or 512MiB",
        },
    },
    ("migration", "source", "target", "replication"),
)
