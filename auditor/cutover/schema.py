"""The JSON Schema of the configuration's section `cutover`."""

from auditor.schema_parts import Schema, by_kind, listed, mapping, number, secret, server, text
from orchestrator.cutover import ALL_STEPS, Phase

HOLD_BUDGET_MS = 750
GUARD_SECONDS = 3600
LEASE_SECONDS = 10
APPROVALS_NEEDED = 1
APPROVAL_SECONDS = 3600
MAX_P99_MS = 50
MAX_ERROR_SHARE = 0.001
ASK_PLACES = True
STEP_NAMES = tuple(ALL_STEPS)

_NAME = text(
    "a name of letters, digits, dots, hyphens and underscores",
    "What it is called in the journal and in reports.",
    pattern=r"^[A-Za-z0-9._-]{1,64}$",
)
_COMMAND = listed(
    {"type": "string", "minLength": 1, "x-must": "a word of the command"},
    'a program and its arguments, as in ["/opt/hold", "pool-1"]',
    "A program and its arguments; no shell reads it.",
    minItems=1,
)
_URL = text("an address http://... or https://...", "Address that is asked.", pattern=r"^https?://\S+$")
_TOKEN = secret("Where the bearer token is: `env:NAME` or `file:PATH`.")
_PLACE = r"^[^\s:]+:[0-9]{1,5}$|^\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}$"


def _places(must: str, description: str, **more: object) -> Schema:
    sides = {side: text(must, f"Where it reaches the {side}.", minLength=1, **more) for side in ("source", "target")}
    return mapping(description, sides, ("source", "target"))


def _proxy(kind: str, description: str, properties: Schema, required: tuple[str, ...]) -> Schema:
    own = {"kind": {"const": kind, "x-must": kind}, "name": _NAME}
    return mapping(description, own | properties, ("kind", "name", *required))


_PAIRS = "connection parameters such as host=10.0.0.1 port=5432"
_LED = _places(_PAIRS, "What it leads to; with it these servers are asked who they are before anything is held.")
_ASK: Schema = {
    "type": "boolean",
    "default": ASK_PLACES,
    "description": "Whether this host asks the places who they are before anything is held; false where it cannot.",
    "x-must": "true or false",
}
_PROBE = server("way in through the proxy, by which it is asked which server answers")
_PGBOUNCER = _proxy(
    "pgbouncer",
    "A PgBouncer.",
    {
        "admin": server("admin console", "host=10.0.0.5 port=6432 dbname=pgbouncer user=auditor"),
        "config": text("a path", "Its configuration file, which is rewritten atomically.", minLength=1),
        "databases": listed(
            {"type": "string", "pattern": r"\S", "x-must": "the name of a database of the PgBouncer"},
            "a list of databases, as the PgBouncer names them",
            "Databases of it that belong to this migration.",
            minItems=1,
        ),
        "places": _places(_PAIRS, "What its databases lead to."),
        "ask_places": _ASK,
        "probe": _PROBE,
    },
    ("admin", "config", "databases", "places", "probe"),
)
_ENVOY = _proxy(
    "envoy",
    "A fleet of Envoys that asks this control plane where the database is.",
    {
        "listen": text("host:port", "Where the control plane answers xDS over gRPC.", pattern=_PLACE),
        "standby": text(
            "host:port",
            "Where the dead man's control plane answers while a process that was stopped still holds `listen`.",
            pattern=_PLACE,
        ),
        "reached_at": text("an IP address", "This machine, as the Envoys reach it, where `listen` is every address."),
        "nodes": listed(
            {"type": "string", "pattern": r"\S", "x-must": "the id of a node"},
            "a list of node ids",
            "Every Envoy by its node id; each must acknowledge.",
            minItems=1,
        ),
        "cluster": text("the name of a cluster", "Cluster of the writes.", pattern=r"\S"),
        "reads_cluster": text("the name of a cluster", "Cluster of the reads, led over first.", pattern=r"\S"),
        "places": _places("host:port", "What the clusters lead to.", pattern=_PLACE),
        "ask_places": _ASK,
        "probes": listed(_PROBE, "a list of {dsn: ...}", "A way in through each Envoy.", minItems=1),
    },
    ("listen", "nodes", "cluster", "places", "probes"),
)
_EXEC = _proxy(
    "exec",
    "A proxy of your own, led by programs.",
    {name: _COMMAND for name in ("hold", "release", "route", "observe")} | {"probe": _PROBE, "places": _LED},
    ("hold", "release", "route", "observe", "probe"),
)
_WEBHOOK = _proxy(
    "webhook",
    "A proxy of your own, led by HTTP.",
    {"url": _URL, "token": _TOKEN, "probe": _PROBE, "places": _LED},
    ("url", "probe"),
)

_CONSUMER = mapping(
    "A reader of a change slot on the source, that goes on from the target.",
    {
        "slot": text("the name of a slot", "Its replication slot.", pattern="^[a-z0-9_]{1,63}$"),
        "plugin": text(
            "the name of a plugin", "Output plugin of the slot.", pattern="^[a-z0-9_]+$", default="pgoutput"
        ),
        "role": text("the name of a role", "Role it logs in with, which the fence spares.", pattern=r"\S"),
        "pause": _COMMAND,
        "resume": _COMMAND,
    },
    ("slot", "role", "pause", "resume"),
)
_HOOK = mapping(
    "A program or an address that is called when a phase begins; what it refuses holds.",
    {
        "phase": {
            "enum": [str(phase) for phase in Phase],
            "description": "The phase before whose first step it is called.",
            "x-must": "the name of a phase such as FENCING",
        },
        "exec": _COMMAND,
        "url": _URL,
        "token": _TOKEN,
    },
    ("phase",),
)
_READ = mapping(
    "A read that is watched.",
    {"name": _NAME, "sql": text("an SQL query", "One query that changes nothing.", minLength=1)},
    ("name", "sql"),
)

CUTOVER: Schema = mapping(
    "The cutover: what it acts through, and for how long it may hold writes.",
    {
        "journal": server(
            "journal's database, on a third server", "host=10.0.0.3 dbname=journal user=auditor", "env:JOURNAL_PASSWORD"
        ),
        "control": mapping(
            "Roles that act on both sides; the fence spares them.",
            {side: server(f"control role of the {side}") for side in ("source", "target")},
            ("source", "target"),
        ),
        "reverse": mapping(
            "The way back of the data after the switch.",
            {"publisher": server("target, as the source reaches it")},
            ("publisher",),
        ),
        "hold_budget_ms": number(
            "a number of milliseconds above 0, at most 60000",
            "The longest that writes may be held; a cutover that is foretold to take longer does not begin.",
            exclusiveMinimum=0,
            maximum=60000,
            default=HOLD_BUDGET_MS,
        ),
        "guard_seconds": number(
            "a number of seconds, 0 or more",
            "How long the target is watched after the switch before an operator may finalize.",
            minimum=0,
            default=GUARD_SECONDS,
        ),
        "lease_seconds": number(
            "a number of seconds from 4 to 60",
            "How long an orchestrator that is not heard of any more keeps everybody else from acting.",
            minimum=4,
            maximum=60,
            default=LEASE_SECONDS,
        ),
        "steps": {
            "type": "object",
            "default": {},
            "description": "Deadlines in seconds that differ from a step's own; `auditor cutover steps` lists them.",
            "propertyNames": {
                "enum": list(STEP_NAMES),
                "x-must": "the name of a step; `auditor cutover steps` lists them",
            },
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "x-must": "a number of seconds above 0"},
            "x-must": "a mapping of steps to seconds",
        },
        "fence": mapping(
            "Whom the fence keeps out of a side.",
            {
                "keep": listed(
                    {"type": "string", "pattern": r"\S", "x-must": "the name of a role"},
                    "a list of roles",
                    "Roles that keep their LOGIN: those of change consumers and of tools that only read.",
                    default=[],
                ),
                "roles": {
                    "anyOf": [
                        {"type": "null"},
                        {"type": "array", "items": {"type": "string", "pattern": r"\S"}, "minItems": 1},
                    ],
                    "default": None,
                    "description": "Roles that are fenced; null: every role that can log in to the database.",
                    "x-must": "null or a list of roles",
                },
            },
        ),
        "proxies": listed(
            by_kind(
                "a mapping with kind: pgbouncer, envoy, exec or webhook",
                {"pgbouncer": _PGBOUNCER, "envoy": _ENVOY, "exec": _EXEC, "webhook": _WEBHOOK},
            ),
            "a list of proxies",
            "Every way of the applications to the database.",
            minItems=1,
        ),
        "consumers": listed(
            _CONSUMER, "a list of {slot: ..., role: ..., pause: [...], resume: [...]}", "Change consumers.", default=[]
        ),
        "hooks": listed(
            _HOOK, "a list of {phase: ..., exec: [...]} or {phase: ..., url: ...}", "What is called.", default=[]
        ),
        "approvals": mapping(
            "Who must agree before it begins.",
            {
                "needed": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 10,
                    "default": APPROVALS_NEEDED,
                    "description": "How many persons must approve the same plan.",
                    "x-must": "a whole number from 1 to 10",
                },
                "valid_seconds": number(
                    "a number of seconds above 0, at most 604800",
                    "How long an approval may be used.",
                    exclusiveMinimum=0,
                    maximum=604800,
                    default=APPROVAL_SECONDS,
                ),
            },
        ),
        "suite": mapping(
            "Reads that are compared before the switch and watched after it.",
            {
                "reads": listed(_READ, "a list of {name: ..., sql: ...}", "The reads.", default=[]),
                "max_p99_ms": number(
                    "a number of milliseconds above 0",
                    "Latency, 99th percentile, above which the cutover goes back.",
                    exclusiveMinimum=0,
                    default=MAX_P99_MS,
                ),
                "max_error_share": number(
                    "a share between 0 and 1",
                    "Share of reads that may fail before the cutover goes back.",
                    minimum=0,
                    maximum=1,
                    default=MAX_ERROR_SHARE,
                ),
            },
        ),
    },
    ("journal", "control", "reverse", "proxies"),
)
