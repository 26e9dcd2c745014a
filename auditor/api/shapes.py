"""JSON Schemas of what the API takes and gives: bodies are checked by them, and the OpenAPI document publishes them."""

from collections.abc import Mapping
from typing import Any

from auditor.api.problems import PROBLEMS
from comparators.findings import Kind, State
from comparators.preflight import ItemStatus
from orchestrator.conditions import Status

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
TIME: Shape = {"type": "string", "format": "date-time"}
NUMBER: Shape = {"type": "number"}
COUNT: Shape = {"type": "integer", "minimum": 0}
FLAG: Shape = {"type": "boolean"}
ANY_OBJECT: Shape = {"type": "object"}
MOST_ALERTS = 1000


def null_or(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


def several(shape: Shape, **more: Any) -> Shape:
    return {"type": "array", "items": shape, **more}


def one_of(names: Any) -> Shape:
    return {"type": "string", "enum": [str(name) for name in names]}


def record(description: str, required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """Describe an object; later versions may add to what we give, so it is open."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "description": description, "required": list(required), "properties": properties}


def ref(name: str) -> Shape:
    return {"$ref": f"#/components/schemas/{name}"}


CONDITION = record(
    "One condition of a verdict.",
    {
        "name": TEXT,
        "status": one_of(Status),
        "value": null_or(NUMBER),
        "limit": NUMBER,
        "unit": TEXT,
        "age_seconds": null_or(NUMBER),
        "reason": TEXT,
    },
)
_VERDICT: dict[str, Shape] = {
    "migration": TEXT,
    "verdict": one_of(Status),
    "evaluated_at": TIME,
    "valid_until": TIME,
    "since": TIME,
    "conditions": several(CONDITION),
    "reasons": several(TEXT),
    "positions": ANY_OBJECT,
    "sample": ANY_OBJECT,
    "needs_person": FLAG,
    "evidence_digest": TEXT,
    "next_steps": several(TEXT),
    "id": {"type": "string", "pattern": "^v_[0-9a-f]{16}$"},
    "consumed_by": null_or(TEXT),
}
VERDICT = record(
    "One evaluation of the gate; it may be relied on until `valid_until`.",
    _VERDICT,
    {"coverage": ANY_OBJECT, "incarnations": ANY_OBJECT, "overrides": several(ANY_OBJECT)},
)
PROBLEM = record(
    "An error as RFC 9457 has it; `code` never changes once published.",
    {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "code": one_of(PROBLEMS)},
)
CLOSED = {"allOf": [ref("Problem"), ref("Verdict")], "description": "The problem, and the whole verdict in it."}
FINDING = record(
    "A difference between the two sides; no row value, and keys as HMACs unless the configuration allows them.",
    {
        "id": {"type": "string", "pattern": "^f_[0-9a-f]{16}$"},
        "kind": one_of(Kind),
        "state": one_of(State),
        "detector": TEXT,
        "table": TEXT,
        "count": COUNT,
        "first_seen": TIME,
        "sentence": TEXT,
    },
)
ITEM = record(
    "One line of the checklist.",
    {
        "name": TEXT,
        "status": one_of(ItemStatus),
        "sentence": TEXT,
        "remedy": TEXT,
        "subjects": several(TEXT),
        "count": COUNT,
    },
)
PROBE = record(
    "The last look of one probe.",
    {
        "group": TEXT,
        "at": null_or(TIME),
        "age_seconds": null_or(NUMBER),
        "error": null_or(TEXT),
        "items": several(ITEM),
        "figures": ANY_OBJECT,
    },
)
PREFLIGHT = record("What the probes saw last.", {"migration": TEXT, "groups": several(PROBE)})
ENTRY = record(
    "A record of the log of verdicts, chained to the one before by its hash.",
    {"seq": COUNT, "at": TIME, "kind": TEXT, "id": TEXT, "hash": TEXT},
)
HISTORY = record("Records of the log, newest first.", {"entries": several(ENTRY)})
EXPLAINED = record("One evaluation and what became of it.", {"id": TEXT})
COVERAGE = record("What sweeps have proved of each table.", {"tables": several(ANY_OBJECT)})

# What is sent to us is closed: an unknown key is an error.
_SAID: Shape = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"}
CONSUME: Shape = {
    "type": "object",
    "description": "Gives one evaluation to one cutover.",
    "required": ["cutover", "verdict"],
    "additionalProperties": False,
    "properties": {
        "cutover": {"type": "string", "pattern": r"^[A-Za-z0-9._:/-]{1,128}(?![\s\S])"},
        "verdict": {"type": "string", "pattern": "^v_[0-9a-f]{16}$"},
    },
}
RECEIPT = record(
    "The proof that a cutover has an evaluation for itself.",
    {"seq": COUNT, "hash": TEXT, "id": TEXT, "cutover": TEXT, "at": TIME, "valid_until": TIME},
)
NEW_OVERRIDE: Shape = {
    "type": "object",
    "description": "A person takes responsibility for a condition over its limit, or an item of the checklist.",
    "required": ["condition", "owner", "reason", "until"],
    "additionalProperties": False,
    "properties": {
        "condition": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
        "item": null_or({"type": "string", "pattern": "^[a-z0-9-]{1,64}$"}),
        "owner": {**_SAID, "maxLength": 200},
        "reason": {**_SAID, "maxLength": 500},
        "until": {**TIME, "maxLength": 64, "description": "At most 30 days ahead."},
    },
}
OVERRIDE_ID = "^o_[0-9a-f]{16}$"
OVERRIDE = record(
    "An override in the records, or (`by` is `configuration`) in the configuration.",
    {
        "id": TEXT,
        "condition": TEXT,
        "item": null_or(TEXT),
        "owner": TEXT,
        "reason": TEXT,
        "at": null_or(TIME),
        "until": TIME,
        "by": TEXT,
    },
)
ALERT: Shape = {
    "type": "object",
    "required": ["status", "labels", "fingerprint"],
    "properties": {
        "status": one_of(("firing", "resolved")),
        "labels": {"type": "object", "additionalProperties": TEXT},
        "annotations": {"type": "object", "additionalProperties": TEXT},
        "startsAt": TIME,
        "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{1,64}$"},
    },
}
ALERTS: Shape = {
    "type": "object",
    "description": "What Alertmanager sends to a webhook (version 4); other keys are ignored.",
    "required": ["version", "alerts"],
    "properties": {
        "version": {"const": "4"},
        "groupKey": {"type": "string", "maxLength": 8192},
        "groupLabels": {"type": "object", "additionalProperties": TEXT},
        "truncatedAlerts": {"type": "integer", "minimum": 0},
        "alerts": several(ALERT, maxItems=MOST_ALERTS),
    },
}
ALERTS_TAKEN = record("What became of the alerts.", {"firing": COUNT, "resolved": COUNT, "ignored": COUNT})

APPROVE: Shape = {
    "type": "object",
    "description": "Agrees to one plan; with tokens or certificates the name is the client's own, whatever `by` says.",
    "required": ["by", "plan"],
    "additionalProperties": False,
    "properties": {
        "by": {**_SAID, "maxLength": 200},
        "plan": {"type": "string", "pattern": r"^sha256:[0-9a-f]{64}(?![\s\S])"},
    },
}
WISH: Shape = {
    "type": "object",
    "description": "Asks something of a cutover; the name is as in `Approve`.",
    "required": ["by", "reason"],
    "additionalProperties": False,
    "properties": {
        "by": {**_SAID, "maxLength": 200},
        "reason": {**_SAID, "maxLength": 500},
        "unproven": {**FLAG, "description": "Roll back also where the reverse audit is not sure yet."},
    },
}
_STEP_TOLD = record(
    "One step of an attempt.",
    {"step": TEXT, "phase": TEXT, "state": TEXT, "began_at": TIME, "ended_at": null_or(TIME), "ms": null_or(NUMBER)},
)
_LINK = record(
    "One link of the chain of proof, and the journal's entry that it rests on.",
    {"step": TEXT, "proves": TEXT, "proved": FLAG, "problem": null_or(TEXT), "entry": null_or(COUNT)},
)
CUTOVER_STATUS = record(
    "Where a migration's cutover stands.",
    {
        "migration": TEXT,
        "phase": TEXT,
        "attempt": null_or(COUNT),
        "direction": null_or(TEXT),
        "result": null_or(TEXT),
        "reason": null_or(TEXT),
        "writable": null_or(TEXT),
        "writes_held": FLAG,
        "held_write_ms": null_or(NUMBER),
        "running": FLAG,
        "holder": null_or(TEXT),
        "acknowledgement_owed": null_or(COUNT),
        "proof_chain": TEXT,
        "steps": several(_STEP_TOLD),
        "proof": several(_LINK),
        "requests": several(ANY_OBJECT),
        "attempts": several(ANY_OBJECT),
        "next_steps": several(TEXT),
    },
)
CUTOVER_REPORT = record(
    "One attempt whole.",
    {
        "migration": TEXT,
        "attempt": COUNT,
        "result": TEXT,
        "proof_chain": TEXT,
        "phases": ANY_OBJECT,
        "proof": several(_LINK),
        "steps": several(_STEP_TOLD),
        "journal": record("What recomputing the chain found.", {"entries": COUNT, "head": TEXT, "intact": FLAG}),
        "next_steps": several(TEXT),
    },
)
CUTOVER_PLAN = record(
    "What would be done.",
    {
        "migration": TEXT,
        "digest": null_or(TEXT),
        "steps": several(ANY_OBJECT),
        "blockers": several(record("What speaks against it.", {"part": TEXT, "reason": TEXT, "remedy": TEXT})),
        "places_unasked": several(TEXT),
        "gate": ANY_OBJECT,
        "budget": ANY_OBJECT,
        "approvals": ANY_OBJECT,
        "ready": FLAG,
        "next_steps": several(TEXT),
    },
)
CUTOVER_WISH = record(
    "A wish in the journal; `answer` is null until an orchestrator has dealt with it.",
    {"id": COUNT, "wish": TEXT, "by": TEXT, "reason": TEXT, "at": TIME, "answer": null_or(TEXT)},
)

SHAPES: Mapping[str, Shape] = {
    "Approve": APPROVE,
    "CutoverApproved": record(
        "The approvals of a plan.", {"digest": TEXT, "by": TEXT, "needed": COUNT, "given": COUNT}
    ),
    "CutoverHistory": record("Entries of a cutover's journal.", {"entries": several(ANY_OBJECT)}),
    "CutoverPlan": CUTOVER_PLAN,
    "CutoverReport": CUTOVER_REPORT,
    "CutoverStatus": CUTOVER_STATUS,
    "CutoverWish": CUTOVER_WISH,
    "Alerts": ALERTS,
    "AlertsTaken": ALERTS_TAKEN,
    "Condition": CONDITION,
    "Consume": CONSUME,
    "Coverage": COVERAGE,
    "Explained": EXPLAINED,
    "Finding": FINDING,
    "Findings": record("Findings, oldest first.", {"findings": several(ref("Finding"))}),
    "Closed": CLOSED,
    "History": HISTORY,
    "Item": ITEM,
    "Migrations": record("The migrations of this gate.", {"migrations": several(ANY_OBJECT)}),
    "NewOverride": NEW_OVERRIDE,
    "Override": OVERRIDE,
    "Overrides": record("Overrides, oldest first.", {"overrides": several(ref("Override"))}),
    "Preflight": PREFLIGHT,
    "Problem": PROBLEM,
    "Receipt": RECEIPT,
    "Said": record("How the process is.", {"status": TEXT}),
    "Verdict": VERDICT,
    "Wish": WISH,
}
"""By their names in the OpenAPI document."""
