"""Choose how a column enters the row's digest: equal means the same text, and one value digests alike everywhere.

The rules are strict. A type's own hash is used only where equality of the type is equality of the text; what equality
blurs (numeric scale, jsonb, intervals, the two zeros of a float) or what depends on the database (enums hash by OID)
is digested as the text that the server prints. One blur remains: a `bpchar` has no trailing blanks in either form,
as neither its equality nor its cast to text knows them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlglot import exp

from comparators.tables import Form

FAMILIES = {
    "int2": "integer", "int4": "integer", "int8": "integer", "oid": "oid", "bool": "bool", "text": "text",
    "varchar": "text", "bpchar": "bpchar", "timestamptz": "timestamptz", "timestamp": "timestamp", "date": "date",
    "time": "time", "uuid": "uuid", "bytea": "bytea", "inet": "inet", "cidr": "cidr", "macaddr": "macaddr",
}  # fmt: skip
"""Types whose own hash tells apart what their text tells apart; those of one family hash and order alike."""

_SENT = {"int8": "int8send", "timestamp": "timestamp_send", "timestamptz": "timestamptz_send", "time": "time_send"}

ORDERED = {name: name for name in FAMILIES if name not in ("cidr", "macaddr")} | {
    "name": "name", "numeric": "numeric", "float4": "float4", "float8": "float8",
}  # fmt: skip
"""Types that both sides order alike, but for text's collation, to a type whose values each index of theirs can take."""
ORDERED.update(int2="int8", int4="int8", varchar="text")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column holds, seen through its domains."""

    name: str
    """Name of the type without schema, as `int4`."""
    schema: str = "pg_catalog"
    kind: str = "b"
    """As in `pg_type.typtype`, but never `d`: `b` base, `c` composite, `e` enum, `r` range, `m` multirange."""
    element: str | None = None
    """Name of the element type of an array."""
    declared: str = ""
    """With modifiers; a domain as what is below it."""
    printer: str | None = None
    """Output function, where a cast to text would call something else that somebody wrote."""

    @property
    def builtin(self) -> bool:
        return self.schema == "pg_catalog"

    @property
    def full_name(self) -> str:
        return self.name if self.builtin else f"{self.schema}.{self.name}"

    @property
    def family(self) -> str | None:
        """Name the types that this one hashes like; `None`: it is digested as text."""
        return FAMILIES.get(self.name) if self.builtin else None

    @property
    def order(self) -> str | None:
        """Name the type that this one is ordered like; `None`: no range of it is sure to mean the same elsewhere."""
        return ORDERED.get(self.name) if self.builtin else None

    @property
    def sql(self) -> str:
        """Name the type without modifiers, whatever the search path and the words of SQL."""
        if self.order is not None:
            return self.name
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))


def form_of(source: ColumnType, target: ColumnType, disagreeing: Collection[str]) -> tuple[Form, str]:
    """Choose the form of a column.

    Args:
        disagreeing: types for which the two servers gave different hashes for the same values.
    Returns:
        The form, and the reason in words.
    """
    family = source.family
    if family is not None and family == target.family:
        odd = sorted({source.name, target.name} & set(disagreeing))
        if odd:
            return Form.SHA256, f"the servers hash {odd[0]} differently"
        return Form.NATIVE, "as its type hashes it"
    if "text" in disagreeing:
        return Form.SHA256, "the servers hash text differently"
    return Form.TEXT, _why_text(source, target)


def _why_text(source: ColumnType, target: ColumnType) -> str:
    if source.full_name != target.full_name:
        return f"{source.full_name} on the source is {target.full_name} on the target"
    if source.kind == "e":
        return "an enum's hash depends on the database"
    if source.element is not None or source.kind in "crm":
        return "equal elements need not be the same text"
    if not source.builtin:
        return f"what {source.full_name} calls equal is not known"
    return f"equal {source.name} need not be the same text"


def native(value: exp.Expr, source: ColumnType, target: ColumnType) -> exp.Expr:
    """Write what a type's own hash is taken of, so that it depends on every bit of the value and on nothing else.

    PostgreSQL folds eight bytes to four before it hashes them, so that -1 and 4294967295 have one hash: these types
    are hashed as the bytes that they are sent as. Texts are hashed whatever their collation calls equal.
    """
    family = source.family or ""
    if family == "integer" and "int8" in (source.name, target.name):
        value = exp.cast(value, "bigint")
        family = "int8"
    if family in _SENT:
        return exp.Anonymous(this=_SENT[family], expressions=[value])
    if family in ("text", "bpchar"):
        return exp.Collate(this=value, expression=exp.to_identifier("C", quoted=True))
    return value


def bound_type(source: ColumnType, target: ColumnType) -> str | None:
    """Name the type that the text of a bound is cast to on both sides; `None`: they are not ordered alike."""
    order = source.order
    if order is None or order != target.order:
        return None
    return order if source.name != target.name or order == "text" else source.name
