"""What is made of two servers' answers."""

from typing import Any

import pytest

from samplers import handshake
from samplers.column_types import Order
from samplers.handshake import Agreement, shake_hands

TYPES = ("date", "numeric", "text")
ASKED = ("rows", "bytea", "date", "int4", "text", "numeric")
"""Columns of the answer for these types."""


def agreement(monkeypatch: Any, *, server: tuple[bytes, bytes] = (b"t", b"UTF8"), **answers: bytes | None) -> Agreement:
    """Let the target answer otherwise than the source."""

    def answer(session: Any, statement: str) -> list[tuple[bytes | None, ...]]:
        if "to_regprocedure" in statement:
            return [server if session == "target" else (b"t", b"UTF8")]
        same = dict.fromkeys(ASKED, b"{1,2}")
        return [tuple({**same, **answers}.values() if session == "target" else same.values())]

    monkeypatch.setattr(handshake, "fetch", answer)
    session: Any = "source"
    other: Any = "target"
    return shake_hands(session, other, TYPES)


def test_servers_that_answer_alike_agree(monkeypatch: Any):
    assert Agreement() == agreement(monkeypatch)


def test_a_type_that_is_hashed_differently_is_named(monkeypatch: Any):
    assert Agreement(disagreeing=frozenset({"date"})) == agreement(monkeypatch, date=b"{1,3}")
    assert Agreement(disagreeing=frozenset({"date"})) == agreement(monkeypatch, date=None)


def test_a_type_that_is_printed_differently_is_named(monkeypatch: Any):
    assert Agreement(printing=frozenset({"numeric"})) == agreement(monkeypatch, numeric=b"{1.0,2}")


@pytest.mark.parametrize("what", ["rows", "bytea", "int4", "text"])
def test_servers_that_hash_rows_differently_need_sha(monkeypatch: Any, what: str):
    assert "the servers hash rows differently" == agreement(monkeypatch, **{what: b"{}"}).sha


def test_a_server_without_the_function_needs_sha(monkeypatch: Any):
    assert "the target has no hash_record_extended" == agreement(monkeypatch, server=(b"f", b"UTF8")).sha


def test_another_encoding_needs_sha_and_orders_no_texts(monkeypatch: Any):
    found = agreement(monkeypatch, server=(b"t", b"LATIN1"))
    assert (False, "the source is encoded in UTF8, the target in LATIN1") == (found.one_encoding, found.sha)


def ordered(provider: str, locale: str, version: str | None = None, deterministic: bool = True) -> Order:
    return Order("id", "pg_catalog.x", True, deterministic, provider, locale, version)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ordered("c", "C"), ordered("c", "POSIX")),
        (ordered("c", "C"), ordered("b", "C.UTF-8", "1")),
        (ordered("c", "en_US.UTF-8", "2.36"), ordered("c", "en_US.utf8", "2.36")),
        (ordered("c", "C.UTF-8"), ordered("c", "C.utf8")),
        (ordered("i", "sv", "153.120"), ordered("i", "sv", "153.120")),
        (Order("id"), Order("id")),
    ],
)
def test_orders_that_are_known_to_be_the_same(one: Order, other: Order):
    assert one.rule == other.rule
    assert one.rule is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ordered("c", "en_US.UTF-8", "2.36"), ordered("c", "en_US.UTF-8", "2.39")),
        (ordered("c", "en_US.UTF-8", "2.36"), ordered("i", "en-US", "153.120")),
        (ordered("c", "en_US.UTF-8", "2.36"), ordered("c", "C")),
        (ordered("c", "C"), ordered("c", "C.utf8")),
    ],
)
def test_orders_that_differ(one: Order, other: Order):
    assert one.rule != other.rule


@pytest.mark.parametrize(
    "one", [ordered("c", "en_US.UTF-8"), ordered("i", "und"), ordered("i", "und", "153", deterministic=False)]
)
def test_an_order_that_nobody_can_vouch_for_is_none(one: Order):
    assert one.rule is None
