"""Choose the columns that both sides of a table have, and how each is read and digested there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlglot import exp, parse_one

from comparators.encoding import ColumnType, form_of, native
from comparators.tables import DigestColumn, Form
from samplers.halves import Half
from samplers.handshake import Agreement

_INT4 = ColumnType("int4")
_WIDENED = frozenset({"integer", "text"})
"""Families whose values look alike in a wider column."""


@dataclass(frozen=True, slots=True)
class SharedColumn:
    """One column that both sides have."""

    name: str
    """As the source names it."""
    source: ColumnType
    target: ColumnType

    @property
    def bytes_alone(self) -> bool:
        """Say whether it is `"char"`, whose text and hash depend on the server's version and architecture."""
        return all(kind.builtin and kind.name == "char" for kind in (self.source, self.target))


def published_columns(half: Half, listed: Collection[str] | None) -> frozenset[str]:
    """Name the source's columns that are published.

    Args:
        listed: by the publication; `None`: all but generated ones.
    """
    there = frozenset(half.facts.types)
    return there - half.facts.generated if listed is None else there & frozenset(listed)


def shared_columns(
    source: Half, target: Half, published: frozenset[str], generated: bool = False
) -> tuple[SharedColumn, ...]:
    """Choose the columns that are compared, sorted by name.

    Args:
        generated: those that the target generates too.
    Raises:
        SettingInvalid: a server refuses an expression of the mapping.
    """
    there = frozenset(target.facts.types) - (frozenset() if generated else target.facts.generated)
    names = sorted(name for name in published - source.rules.excluded if target.own(name) in there)
    left, right = source.types_of(names), target.types_of(names)
    return tuple(SharedColumn(name, left[name], right[name]) for name in names)


def left_out(source: Half, target: Half, published: frozenset[str], shared: frozenset[str]) -> Iterator[str]:
    """Say which columns are not compared, and why."""
    there, excluded = frozenset(source.facts.types), source.rules.excluded
    generated = source.facts.generated - published
    only_source = {n for n in published - shared - excluded if target.own(n) not in target.facts.generated}
    fed = {target.own(name) for name in published - excluded}
    yield from _named("not compared, as the mapping excludes them", excluded)
    known = {target.own(name) for name in shared}
    made = generated | (target.facts.generated - known)
    yield from _named("not compared, as each side generates them", made - excluded)
    yield from _named("not published", there - published - generated - excluded)
    yield from _named("on the source only", only_source)
    only_target = frozenset(target.facts.types) - target.facts.generated - fed - excluded - there
    yield from _named("on the target only", only_target)


def _named(what: str, columns: Collection[str]) -> Iterator[str]:
    if columns:
        yield f"{what}: {', '.join(sorted(columns))}"


def digest_columns(half: Half, shared: Collection[SharedColumn], agreement: Agreement) -> tuple[DigestColumn, ...]:
    """Say how one side reads and digests each column; both sides get the same forms in the same order."""
    return tuple(_digest_column(half, column, agreement) for column in shared)


def _digest_column(half: Half, column: SharedColumn, agreement: Agreement) -> DigestColumn:
    kinds = (_INT4, _INT4) if column.bytes_alone else (column.source, column.target)
    form, why = form_of(*kinds, agreement.disagreeing)
    if agreement.sha:
        form, why = Form.SHA256, agreement.sha
    return DigestColumn(column.name, _expression(half, column, form).sql(dialect="postgres"), form, why)


def _expression(half: Half, column: SharedColumn, form: Form) -> exp.Expr:
    mapped = half.mapped(column.name)
    kind = column.source if half.side == "source" else column.target
    value: exp.Expr = exp.column(exp.to_identifier(half.own(column.name), quoted=True))
    if mapped is not None:
        value = exp.Paren(this=parse_one(mapped, dialect="postgres"))
    if column.bytes_alone:
        return exp.cast(value, "int4", dialect="postgres")
    if kind.printer:
        return exp.Anonymous(this="textin", expressions=[exp.Anonymous(this=kind.printer, expressions=[value])])
    return native(value, column.source, column.target) if form is Form.NATIVE else value


def shape_notes(shared: Collection[SharedColumn], agreement: Agreement) -> Iterator[str]:
    """Say which columns may show differences that nobody made."""
    for column in shared:
        widened = column.source.family == column.target.family and column.source.family in _WIDENED
        if column.source.declared != column.target.declared and not widened:
            yield (
                f"{column.name} is {column.source.declared} on the source and {column.target.declared} on the target:"
                " let the mapping cast one of them if their texts differ by design"
            )
        for name in sorted({column.source.name, column.target.name} & agreement.printing):
            yield f"{column.name}: the servers print {name} differently, so that equal values may be reported"
