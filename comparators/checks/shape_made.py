"""Types and functions that users made, and that tables rest on."""

from comparators.checks.judges import Grade, graded, in_shape
from comparators.checks.schema import Both, TypeMade
from comparators.preflight import Item, ItemStatus

BLOCKS, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN


def _types(name: str, both: Both) -> Item:
    there = {made.name: made for made in both.target.types}
    unlike = [made for made in both.source.types if made.name not in there or not _takes(there[made.name], made)]
    used = {made.name for made in unlike if both.tables.intersection(made.tables)}
    wider = {
        made.name for made in both.source.types
        if made.name in there and made not in unlike and there[made.name].members != made.members
    }  # fmt: skip
    return graded(
        name,
        "the target has all of the source's",
        Grade(BLOCKS, used, "types of columns are missing on the target or defined otherwise: values may be refused",
              "on the target: CREATE TYPE or CREATE DOMAIN as on the source; ALTER TYPE NAME ADD VALUE for a label"),
        Grade(WARN, {made.name for made in unlike} - used,
              "types that no column of the migration has are missing on the target or defined otherwise",
              "create them on the target"),
        Grade(WARN, wider, "the target's types have more labels, or in another order",
              "compare them with \\dT+; the order of labels is the order of sorting"),
    )  # fmt: skip


def _takes(there: TypeMade, made: TypeMade) -> bool:
    """Say whether a type of the target takes every value; a longer list of labels does."""
    if there.kind == made.kind == "enum":
        return set(made.members) <= set(there.members)
    return (there.kind, there.members) == (made.kind, made.members)


def _functions(name: str, both: Both) -> Item:
    there = {function.name: function for function in both.target.functions}
    missing = [function for function in both.source.functions if function.name not in there]
    return graded(
        name,
        "the target has all of the source's",
        Grade(BLOCKS, {function.name for function in missing if function.used},
              "functions that defaults, constraints, indexes, triggers or policies call are missing on the target",
              "create them on the target as \\sf shows them on the source"),
        Grade(WARN, {function.name for function in missing if not function.used},
              "functions are missing on the target", "create them on the target as \\sf shows them on the source"),
        Grade(WARN, {function.name for function in both.source.functions
                     if function.name in there and there[function.name].body != function.body},
              "functions have another text on the target", "compare them with \\sf on both sides"),
    )  # fmt: skip


JUDGES = (
    in_shape("types-alike", "enums, domains, ranges and composite types of columns are the same", _types,
             ("relations", "types")),
    in_shape("functions-present", "functions that tables rest on exist on the target", _functions, ("functions",),
             overridable=True),
)  # fmt: skip
