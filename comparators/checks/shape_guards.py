"""What acts on writes or hides rows: triggers, rules, row security, rights."""

from comparators.checks.judges import Grade, graded, in_shape
from comparators.checks.schema import Both, Part, matched
from comparators.preflight import Item, ItemStatus, found

BLOCKS, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN
IN_APPLY = frozenset("RA")
FOR_CLIENTS = frozenset("OA")
_AFTER = "after the cutover it is not done"


def _made(parts: tuple[Part, ...]) -> list[Part]:
    return [part for part in parts if part.kind == "trigger"]


def _triggers(name: str, both: Both) -> Item:
    pairs = list(matched(_made(both.source.triggers), _made(both.target.triggers), both.common - both.inner))
    known = [(one, other) for one, other in pairs if one and other]
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, {one.full_name for one, other in pairs if one and not other and one.enabled in FOR_CLIENTS},
              f"triggers are missing on the target: {_AFTER}",
              "on the target: CREATE TRIGGER ..., as \\d shows it on the source"),
        Grade(BLOCKS, {one.full_name for one, other in known
                       if one.enabled in FOR_CLIENTS and other.enabled not in FOR_CLIENTS},
              f"triggers are disabled on the target and enabled on the source: {_AFTER}",
              "on the target: ALTER TABLE SCHEMA.TABLE ENABLE TRIGGER NAME"),
        Grade(BLOCKS, {one.full_name for one, other in known
                       if other.enabled in FOR_CLIENTS and one.enabled not in FOR_CLIENTS},
              "triggers are enabled on the target and disabled on the source: after the cutover they fire",
              "on the target: ALTER TABLE SCHEMA.TABLE DISABLE TRIGGER NAME"),
        Grade(BLOCKS, {one.full_name for one, other in known if one.definition != other.definition},
              "triggers are defined otherwise on the target", "create them on the target as on the source"),
        Grade(WARN, {other.full_name for one, other in pairs if other and not one},
              "only the target has these triggers", "on the target: DROP TRIGGER NAME ON SCHEMA.TABLE"),
    )  # fmt: skip


def _in_apply(name: str, both: Both) -> Item:
    firing = {part.full_name for part in _made(both.target.triggers)
              if part.table in both.tables and part.enabled in IN_APPLY}  # fmt: skip
    return found(
        name, BLOCKS, firing,
        "these triggers of the target fire while replication applies rows that the source's have seen",
        "on the target: ALTER TABLE SCHEMA.TABLE ENABLE TRIGGER NAME (without ALWAYS or REPLICA)", "none",
    )  # fmt: skip


def _foreign_keys_enforced(name: str, both: Both) -> Item:
    off, off_on_source = (
        {part.full_name for part in side.triggers if part.kind == "foreign key" and part.table in both.tables}
        for side in (both.target, both.source)
    )
    return found(
        name, BLOCKS, off - off_on_source,
        "the target does not enforce these foreign keys: their triggers are disabled",
        "on the target: ALTER TABLE SCHEMA.TABLE ENABLE TRIGGER ALL, for both tables of the key", "as on the source",
    )  # fmt: skip


def _event_triggers(name: str, both: Both) -> Item:
    source, target = ({part.name: part for part in side.event_triggers} for side in (both.source, both.target))
    return graded(
        name,
        "the same on both sides",
        Grade(WARN, {one for one, part in target.items() if part.enabled in IN_APPLY and one not in source},
              "event triggers of the target that fire in apply too", "on the target: ALTER EVENT TRIGGER NAME ENABLE"),
        Grade(WARN, {one for one, part in source.items() if one not in target or target[one].enabled != part.enabled},
              "event triggers are missing or switched otherwise on the target", "create them on the target"),
    )  # fmt: skip


def _rules(name: str, both: Both) -> Item:
    pairs = list(matched(both.source.rules, both.target.rules, both.common))
    unlike = {one.full_name for one, other in pairs
              if one and (other is None or (one.definition, one.enabled) != (other.definition, other.enabled))}
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, unlike, f"rules are missing or other on the target: {_AFTER}",
              "on the target: CREATE RULE ..., as \\d shows it on the source"),
        Grade(WARN, {other.full_name for one, other in pairs if other and not one}, "only the target has these rules",
              "on the target: DROP RULE NAME ON SCHEMA.TABLE"),
    )  # fmt: skip


def _row_security(name: str, both: Both) -> Item:
    flags = {
        table for table in both.common
        if _secured(both, table, source=True) != _secured(both, table, source=False)
    }  # fmt: skip
    pairs = list(matched(both.source.policies, both.target.policies, both.common))
    unlike = {_named(one, other) for one, other in pairs if one is None or other is None or one.kind != other.kind}
    texts = {one.full_name for one, other in pairs if one and other and one.definition != other.definition}
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, flags, "row security is switched otherwise on the target: rows are hidden or shown that were not",
              "on the target: ALTER TABLE SCHEMA.TABLE ENABLE (or DISABLE, FORCE) ROW LEVEL SECURITY"),
        Grade(BLOCKS, unlike, "policies are on one side only, or for other commands or roles",
              "on the target: CREATE POLICY ..., as \\d shows it on the source"),
        Grade(WARN, texts - unlike, "policies read otherwise on the target", "compare their expressions with \\d"),
    )  # fmt: skip


def _secured(both: Both, table: str, source: bool) -> tuple[bool, bool]:
    relation = (both.source if source else both.target).relations[table]
    return relation.row_security, relation.forced


def _named(one: Part | None, other: Part | None) -> str:
    part = one or other
    return part.full_name if part else ""


def _owners(name: str, both: Both) -> Item:
    differing = {
        table for table in both.common if both.source.relations[table].owner != both.target.relations[table].owner
    }
    return found(
        name, WARN, differing, "other roles own these tables on the target",
        "on the target: ALTER TABLE SCHEMA.TABLE OWNER TO ROLE", "the same on both sides",
    )  # fmt: skip


def _grants(name: str, both: Both) -> Item:
    given = {(part.table, part.name) for part in both.target.grants}
    owners = {(table, both.target.relations[table].owner) for table in both.common}
    missing = {
        f"{part.table} ({part.name})" for part in both.source.grants
        if part.table in both.common and (part.table, part.name) not in given
        and (part.table, part.name.rpartition(": ")[0]) not in owners
    }  # fmt: skip
    return found(
        name, WARN, missing, "rights that roles have on the source are missing on the target",
        "on the target: GRANT ... ON SCHEMA.TABLE TO ROLE", "the target grants all that the source does",
    )  # fmt: skip


JUDGES = (
    in_shape("triggers-alike", "triggers are the same, and enabled where the source's are", _triggers,
             ("relations", "triggers"), overridable=True),
    in_shape("triggers-in-apply", "no trigger of the target fires while replication applies rows", _in_apply,
             ("relations", "triggers")),
    in_shape("foreign-keys-enforced", "the target enforces its foreign keys", _foreign_keys_enforced,
             ("relations", "triggers"), overridable=True),
    in_shape("event-triggers", "event triggers are the same", _event_triggers, ("event_triggers",)),
    in_shape("rules-alike", "rewrite rules of tables are the same", _rules, ("relations", "rules"), overridable=True),
    in_shape("row-security", "row security and its policies are the same", _row_security, ("relations", "policies"),
             overridable=True),
    in_shape("owners", "the same roles own the tables", _owners, ("relations",)),
    in_shape("grants", "roles have their rights on the target", _grants, ("relations", "grants")),
)  # fmt: skip
