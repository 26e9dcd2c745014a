"""`auditor findings` works on the records alone and shows keys only where it may."""

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor import findings
from auditor.records import Records, open_records
from auditor.settings import EvidenceSettings, ReplicationSettings, Settings, SideSettings
from comparators.errors import SettingInvalid
from tests.helpers_records import FINDING, suspect

OTHER = "f_00000000000000bb"
KEYS = [{"hash": "cd" * 16, "clear": {"id": "42"}}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        migration="orders",
        source=SideSettings("host=source"),
        target=SideSettings("host=target"),
        replication=ReplicationSettings("native", ("app_pub",), ("app_sub",)),
        state_dir=tmp_path / "state",
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Records]:
    records = open_records(settings)
    now = time.time()
    records.put(
        {
            f"suspect/{FINDING}": suspect(now=now - 3600, state="confirmed", keys=KEYS),
            f"suspect/{OTHER}": suspect(OTHER, now, table="public.lines", kind="row-missing"),
        }
    )
    records.changes()
    yield records
    records.close()


@pytest.fixture
def clear(settings: Settings) -> Settings:
    return replace(settings, evidence=EvidenceSettings(keys="clear"))


def arguments(**given: Any) -> Namespace:
    return Namespace(**{"state": None, "table": None, "since": None, "show_keys": False, "json": True} | given)


def listed(settings: Settings, capsys: pytest.CaptureFixture[str], **given: Any) -> list[dict[str, Any]]:
    assert findings.list_command(settings, arguments(**given)) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
    return found


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, [FINDING, OTHER]),
        ({"state": "confirmed"}, [FINDING]),
        ({"state": "healed"}, []),
        ({"table": "public.lines"}, [OTHER]),
        ({"since": "30m"}, [OTHER]),
        ({"since": "2h"}, [FINDING, OTHER]),
        ({"since": "2020-01-01"}, [FINDING, OTHER]),
        ({"since": "2999-01-01T00:00:00Z"}, []),
    ],
)
def test_the_list_keeps_to_its_filters(
    settings: Settings, store: Records, capsys: pytest.CaptureFixture[str], filters: dict[str, Any], ids: list[str]
) -> None:
    assert [finding["id"] for finding in listed(settings, capsys, **filters)] == ids


def test_the_table_names_what_a_person_needs(
    settings: Settings, store: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings.list_command(settings, arguments(json=False)) == 0
    text = capsys.readouterr().out
    for word in (FINDING, "confirmed", "row-different", "public.orders", "0/9C40", "0/EA60", "#cdcdcd"):
        assert word in text


def test_nothing_found_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings.list_command(settings, arguments(json=False)) == 0
    assert capsys.readouterr().out == "no findings\n"


def test_keys_are_shown_only_where_the_configuration_allows_it(
    settings: Settings, clear: Settings, store: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "key" not in listed(settings, capsys)[0]
    with pytest.raises(SettingInvalid, match="show-keys") as caught:
        findings.list_command(settings, arguments(show_keys=True))
    assert "evidence.keys: clear" in caught.value.hint
    assert listed(clear, capsys, show_keys=True)[0]["key"] == {"id": "42"}


def test_a_record_that_cannot_be_read_is_not_a_clean_list(
    settings: Settings, store: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put({"suspect/f_x": {"id": "f_x"}})
    assert findings.list_command(settings, arguments()) == 3
    assert json.loads(capsys.readouterr().out)["unreadable"] == ["suspect/f_x"]
    assert findings.list_command(settings, arguments(json=False)) == 3


def test_one_finding_is_shown_in_full(settings: Settings, store: Records, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings.show_command(settings, arguments(id=FINDING)) == 0
    assert json.loads(capsys.readouterr().out)["id"] == FINDING
    assert findings.show_command(settings, arguments(id=FINDING, json=False)) == 0
    text = capsys.readouterr().out
    assert text.startswith("public.orders: 1 row differs")
    assert "0/9C40" in text


@pytest.mark.parametrize("name", ["f_0000000000000000", "42", ""])
@pytest.mark.parametrize("command", [findings.show_command, findings.recheck_command, findings.accept_command])
def test_an_unknown_finding_is_named(settings: Settings, store: Records, command: Any, name: str) -> None:
    with pytest.raises(SettingInvalid, match="no such finding"):
        command(settings, arguments(id=name, owner="ana", reason="known", until=None))


def test_a_recheck_is_asked_for(settings: Settings, store: Records, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings.recheck_command(settings, arguments(id=FINDING)) == 0
    changes = store.changes()
    assert (changes[f"recheck/{FINDING}"] or {})["at"] == pytest.approx(time.time(), abs=60)
    assert (changes["wait/cli"] or {})["until"] > time.time()
    assert FINDING in capsys.readouterr().out


def test_an_acceptance_names_who_why_and_until_when(
    settings: Settings, store: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(id=FINDING, owner="ana", reason=" known: ticket 7 ", until="7d", json=False)
    assert findings.accept_command(settings, given) == 0
    assert "accepted by ana until" in capsys.readouterr().out
    finding = listed(settings, capsys)[0]
    assert finding["state"] == "accepted"
    assert finding["accepted"]["reason"] == "known: ticket 7"
    assert "accepted by ana: known: ticket 7" in finding["sentence"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"reason": ""}, "--reason"),
        ({"reason": None}, "--reason"),
        ({"until": "2001-01-01"}, "has passed"),
        ({"until": "some day"}, "--until"),
    ],
)
def test_an_acceptance_without_a_reason_or_an_end_to_come_is_refused(
    settings: Settings, store: Records, change: dict[str, Any], match: str
) -> None:
    with pytest.raises(SettingInvalid, match=match):
        findings.accept_command(
            settings, arguments(**{"id": FINDING, "owner": "a", "reason": "b", "until": None} | change)
        )


def test_what_has_healed_cannot_be_accepted(settings: Settings, store: Records) -> None:
    store.put({f"settled/{FINDING}": {"state": "healed"}})
    with pytest.raises(SettingInvalid, match="has healed"):
        findings.accept_command(settings, arguments(id=FINDING, owner="ana", reason="known", until=None))
