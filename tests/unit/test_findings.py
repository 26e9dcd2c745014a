"""What becomes of a finding between the core, the re-check and a person, and how it is shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.findings import (
    Kind,
    State,
    finding_id,
    finding_json,
    merged_findings,
    open_findings,
    read_findings,
)
from tests.helpers_records import FINDING, NOW, suspect

OTHER = "f_00000000000000bb"
positions = st.integers(0, 2**64 - 1)


@given(st.tuples(st.text(), st.sampled_from(Kind), st.text(), st.text(), st.none() | positions, st.none() | positions))
def test_a_replay_gives_the_same_id(about: Any) -> None:
    assert finding_id(*about) == finding_id(*about)
    assert len(finding_id(*about)) == 18
    assert finding_id(*about).startswith("f_")


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3)), unique=True, max_size=20))
def test_different_findings_have_different_ids(abouts: list[tuple[str, str, str]]) -> None:
    ids = {finding_id("m", kind, table, subscription, 5, None) for kind, table, subscription in abouts}
    assert len(ids) == len(abouts)


def test_the_source_position_names_a_finding_and_the_target_s_only_without_it() -> None:
    assert finding_id("m", "k", "t", "s", 5, 6) == finding_id("m", "k", "t", "s", 5, None)
    assert finding_id("m", "k", "t", "s", None, 5) != finding_id("m", "k", "t", "s", 5, None)


def test_settling_overrides_what_was_first_seen() -> None:
    settled = {
        "state": "confirmed",
        "columns": ["total", "note"],
        "count": 2,
        "keys": [],
        "rounds": 2,
        "settled_at": NOW,
    }
    (finding,) = merged_findings({f"suspect/{FINDING}": suspect(), f"settled/{FINDING}": settled})
    assert (finding.state, finding.columns, finding.count) == (State.CONFIRMED, ("total", "note"), 2)
    assert finding.settled_at == NOW
    assert finding.keys[0].hash == "ab" * 16


@pytest.mark.parametrize(
    ("settled", "accepted", "state"),
    [
        (None, None, "suspect"),
        ("confirmed", None, "confirmed"),
        ("healed", None, "healed"),
        ("suspect", None, "suspect"),
        ("confirmed", NOW + 9, "accepted"),
        ("confirmed", NOW - 9, "confirmed"),
        (None, NOW + 9, "accepted"),
        ("healed", NOW + 9, "healed"),
    ],
)
def test_the_state_follows_the_latest_word(settled: str | None, accepted: float | None, state: str) -> None:
    records: dict[str, Any] = {f"suspect/{FINDING}": suspect()}
    if settled:
        records[f"settled/{FINDING}"] = {"state": settled, "settled_at": NOW}
    if accepted:
        records[f"accepted/{FINDING}"] = {"owner": "ana", "reason": "known", "until": accepted, "at": NOW - 20}
    (finding,) = merged_findings(records, NOW)
    assert finding.state == state


def test_an_order_that_was_violated_never_heals() -> None:
    records = {
        f"suspect/{FINDING}": suspect(kind="order-violated", state="confirmed"),
        f"settled/{FINDING}": {"state": "healed"},
    }
    assert merged_findings(records)[0].state is State.CONFIRMED


def test_a_row_explained_by_a_foreign_write_counts_once_and_again_when_that_has_healed() -> None:
    records = {
        f"suspect/{FINDING}": suspect(kind="foreign-write", state="confirmed"),
        f"suspect/{OTHER}": suspect(OTHER, state="confirmed"),
        f"settled/{OTHER}": {"state": "confirmed", "explained_by": FINDING},
    }
    assert [finding.id for finding in open_findings(merged_findings(records))] == [FINDING]
    records[f"settled/{FINDING}"] = {"state": "healed"}
    assert [finding.id for finding in open_findings(merged_findings(records))] == [OTHER]


def test_findings_that_explain_each_other_do_not_both_vanish() -> None:
    alone = {f"suspect/{FINDING}": suspect(state="confirmed", explained_by=FINDING)}
    assert len(open_findings(merged_findings(alone))) == 1
    mutual = {
        f"suspect/{FINDING}": suspect(state="confirmed", explained_by=OTHER),
        f"suspect/{OTHER}": suspect(OTHER, state="confirmed", explained_by=FINDING),
    }
    assert open_findings(merged_findings(mutual))


@given(
    st.sampled_from(["id", "kind", "state", "detector", "table", "count", "first_seen", "subscription"]),
    st.sampled_from([None, -1, "new-kind", {}, float("nan"), float("inf")]),
)
def test_a_record_that_makes_no_sense_is_named_and_not_dropped(field: str, value: Any) -> None:
    record = suspect() | {field: value}
    findings, unreadable = read_findings({f"suspect/{FINDING}": record})
    readable_text = field in ("detector", "table", "subscription") and isinstance(value, str)
    assert len(findings) + len(unreadable) == 1
    assert readable_text or unreadable == (f"suspect/{FINDING}",)


def test_a_confirmation_without_its_finding_is_named() -> None:
    assert read_findings({f"settled/{FINDING}": {"state": "confirmed"}})[1] == (f"settled/{FINDING}",)
    assert read_findings({f"settled/{FINDING}": {"state": "healed"}}) == ([], ())


def test_the_json_is_the_contract_s() -> None:
    document = finding_json(merged_findings({f"suspect/{FINDING}": suspect()})[0])
    assert {
        "id", "kind", "state", "detector", "table", "key_hash", "columns", "count", "source_position",
        "target_position", "first_seen", "settled_at", "sentence",
    } <= set(document)  # fmt: skip
    assert document["source_position"] == "0/9C40"
    assert document["first_seen"] == "2030-03-17T17:46:38.000Z"
    assert document["key_hash"] == "ab" * 16


def test_keys_are_shown_only_where_they_may_be() -> None:
    keys = [{"clear": {"id": str(number)}, "hash": f"{number:032x}"} for number in range(150)]
    (finding,) = merged_findings({f"suspect/{FINDING}": suspect(keys=keys, count=150)})
    hidden, shown = finding_json(finding), finding_json(finding, show_keys=True)
    assert "key" not in hidden
    assert not any("key" in key for key in hidden["keys"])
    assert shown["key"] == {"id": "0"}
    assert len(shown["keys"]) == 100
    assert shown["count"] == 150


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("count", [1, 7])
def test_every_kind_and_state_has_a_sentence_without_keys(kind: Kind, state: State, count: int) -> None:
    record = suspect(kind=str(kind), state="confirmed", count=count, keys=[{"clear": {"id": "secret-key"}}])
    records: dict[str, Any] = {f"suspect/{FINDING}": record}
    if state is State.ACCEPTED:
        records[f"accepted/{FINDING}"] = {"owner": "ana", "reason": "known", "until": None, "at": NOW}
    else:
        record["state"] = str(state)
    document = finding_json(merged_findings(records)[0], show_keys=True)
    assert document["state"] == state
    assert "public.orders" in document["sentence"]
    assert "{" not in document["sentence"]
    assert "secret-key" not in document["sentence"] + document["suggests"]
