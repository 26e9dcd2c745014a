"""A small schema as facts, for tests of what is made of it."""

from dataclasses import replace
from typing import Any

from comparators.checks.schema import Both, Column, Function, Part, Published, Relation, Schema, TypeMade

OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})
T, ROOT, LEAF = "public.t", "public.root", "public.leaf"
SCHEMA = Schema(
    relations={
        T: Relation(T, "r", owner="app", key_types=("bigint",)),
        ROOT: Relation(ROOT, "p", owner="app", key_types=("integer",), partitioned_by="LIST (id)"),
        LEAF: Relation(LEAF, "r", owner="app", key_types=("integer",), parent=ROOT, bound="FOR VALUES IN (1)"),
        "public.v": Relation("public.v", "v", owner="app"),
    },
    columns=(
        Column(T, "id", "bigint", 1, not_null=True, identity="d"),
        Column(T, "a", "integer", 2, default="5"),
        Column(T, "b", "numeric", 3, generated="(a * 2)"),
        Column(T, "c", "character varying(20)", 4, collation="public.c"),
        Column(ROOT, "id", "integer", 1, not_null=True),
        Column(LEAF, "id", "integer", 1, not_null=True),
    ),
    constraints=(
        Part(T, "t_pkey", "primary key", "PRIMARY KEY (id)"),
        Part(T, "t_check", "check", "CHECK (a > 0)"),
        Part(T, "t_fkey", "foreign key", "FOREIGN KEY (a) REFERENCES public.root(id)"),
    ),
    indexes=(
        Part(T, "t_pkey", "unique index", "CREATE UNIQUE INDEX ON public.t (id)", implied=True),
        Part(T, "t_a", "index", "CREATE INDEX ON public.t (a)"),
        Part(T, "t_c", "unique index", "CREATE UNIQUE INDEX ON public.t (c)"),
    ),
    triggers=(Part(T, "t_note", "trigger", "CREATE TRIGGER t_note ..."),),
    rules=(Part(T, "t_rule", definition="delete instead"),),
    policies=(Part(T, "t_seen", "permissive r public", "(a > 0)"),),
    grants=(Part(T, "reader: select"),),
    event_triggers=(Part("", "on_ddl", "ddl_command_end"),),
    types=(TypeMade("public.mood", "enum", ("sad", "glad"), (T,)),),
    functions=(Function("public.f()", "abc", used=True), Function("public.g()", "abc", used=False)),
)
PUBLISHED = {T: Published(OPERATIONS), ROOT: Published(OPERATIONS, via_root=True)}


def both(source: Schema = SCHEMA, target: Schema = SCHEMA, **more: Any) -> Both:
    return Both(source, target, **{"published": PUBLISHED, **more})


def with_relation(schema: Schema, name: str, **changed: Any) -> Schema:
    """Change one relation."""
    return replace(schema, relations={**schema.relations, name: replace(schema.relations[name], **changed)})


def without_relation(schema: Schema, name: str) -> Schema:
    return replace(schema, relations={key: value for key, value in schema.relations.items() if key != name})


def with_part(schema: Schema, field: str, index: int, **changed: Any) -> Schema:
    """Change one member of one of the schema's tuples."""
    members = list(getattr(schema, field))
    members[index] = replace(members[index], **changed)
    return replace(schema, **{field: tuple(members)})


def without_part(schema: Schema, field: str, index: int) -> Schema:
    members = list(getattr(schema, field))
    del members[index]
    return replace(schema, **{field: tuple(members)})
