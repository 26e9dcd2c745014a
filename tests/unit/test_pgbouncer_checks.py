"""What speaks against a cutover through a PgBouncer, from what its console shows."""

from pathlib import Path

import pytest

from comparators.positions import Side
from orchestrator.adapters import pgbouncer_checks as checks
from orchestrator.adapters.pgbouncer_console import DatabaseSeen
from orchestrator.ports import Blocker

PLACES = {Side.SOURCE: {"host": "10.0.0.1"}, Side.TARGET: {"host": "10.0.0.2"}}


def seen(host: str = "10.0.0.1", **changes: object) -> DatabaseSeen:
    given = {"paused": False, "disabled": False, "place": {"host": host, "port": "5432"}, "pool_mode": None}
    return DatabaseSeen(**{**given, **changes})  # type: ignore[arg-type]


def names(found: list[Blocker]) -> list[str]:
    return [one.name for one in found]


def test_a_database_that_is_there_is_fine() -> None:
    assert [] == checks.missing(["app"], {"app": seen()})


def test_a_database_that_is_not_there_or_disabled() -> None:
    found = checks.missing(["app", "typo"], {"app": seen(disabled=True)})
    assert ["PgBouncer has no typo", "PgBouncer keeps app disabled"] == [one.reason for one in found]


@pytest.mark.parametrize("host", ["10.0.0.1", "10.0.0.2"])
def test_either_side_is_a_known_place(host: str) -> None:
    assert [] == checks.unknown_places({"app": seen(host), "other": seen(host)}, PLACES)


def test_a_third_place_and_two_sides_at_once() -> None:
    (third,) = checks.unknown_places({"app": seen("10.0.0.3")}, PLACES)
    assert "app leads to 10.0.0.3:5432" == third.reason
    (both,) = checks.unknown_places({"app": seen("10.0.0.1"), "other": seen("10.0.0.2")}, PLACES)
    assert "its databases lead to different sides" == both.reason


def test_places_of_which_one_is_part_of_the_other_cannot_be_told_apart() -> None:
    same = {Side.SOURCE: {"host": "10.0.0.1"}, Side.TARGET: {"host": "10.0.0.1", "port": "5432"}}
    assert ["places"] == names(checks.unknown_places({"app": seen()}, same))


@pytest.mark.parametrize(("used", "found"), [(90, []), (91, ["room"])])
def test_room_for_clients_that_wait(used: int, found: list[str]) -> None:
    assert found == names(checks.room({"max_client_conn": "100"}, {"used_clients": str(used)}))


@pytest.mark.parametrize(("seconds", "found"), [("0", []), ("120", []), ("60", []), ("59", ["query-wait-timeout"])])
def test_clients_may_wait_for_as_long_as_it_takes(seconds: str, found: list[str]) -> None:
    assert found == names(checks.patience({"query_wait_timeout": seconds, "query_timeout": "0"}))


def test_pools_by_session_wherever_they_are_set() -> None:
    transaction, session = {"pool_mode": "transaction"}, {"pool_mode": "session"}
    pool = {"database": "app", "pool_mode": "session"}
    assert [] == checks.pooling(transaction, {"app": seen()}, [])
    assert [] == checks.pooling(session, {"app": seen(pool_mode="transaction")}, [])
    assert ["pool-mode"] == names(checks.pooling(session, {"app": seen()}, []))
    assert ["pool-mode"] == names(checks.pooling(transaction, {"app": seen(pool_mode="session")}, []))
    assert ["pool-mode"] == names(checks.pooling(transaction, {"app": seen()}, [pool]))


def test_a_file_of_somebody_else_is_told_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "pgbouncer.ini"
    config.write_text("[databases]\napp = host=10.0.0.1\n")
    assert [] == checks.file_problems(config, {"app": seen()})
    monkeypatch.setattr("os.geteuid", lambda: config.stat().st_uid + 1)
    (found,) = checks.file_problems(config, {"app": seen()})
    assert "cannot be replaced by this account" in found.reason
