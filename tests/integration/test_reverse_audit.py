"""The audit on both sides of a commit line: the forward one accuses nobody after it, the reverse one nobody before."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from auditor.cutover.reverse_audit import ReverseAudit, draw_back, draw_forward, reverse_plan
from auditor.cutover.reverse_config import config_file
from auditor.records import open_records
from auditor.settings import Settings, load
from comparators.findings import merged_findings
from orchestrator.adapters.reverse import WayBack, WayForward
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from tests.audits import Audit
from tests.helpers import Database, Pair, wait_for

pytestmark = pytest.mark.alone
ROWS = "SELECT count(*), coalesce(sum(balance), 0), coalesce(sum(hashtext(note)), 0) FROM account"
PACE_SECONDS = 0.01
"""Between two rows, so that an audit of everything keeps up where tests run beside everything else."""
WRITES = 300


def _soon() -> Deadline:
    return Deadline.within(300, "the test's step")


class Traffic:
    """Writes rows one after the other, and some of them anew."""

    def __init__(self, database: Database, first: int) -> None:
        self._database, self._next, self._stop = database, first, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.written = 0

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _write(self) -> None:
        with closing(self._database.connect()) as session:
            while not self._stop.wait(PACE_SECONDS):
                number, self._next = self._next, self._next + 1
                session.execute("INSERT INTO account VALUES (%s, 1, 'x')", [number])
                session.execute("UPDATE account SET balance = balance + 1 WHERE id = %s", [number - 3])
                if number % 5 == 0:
                    session.execute("DELETE FROM account WHERE id = %s", [number - 20])
                self.written += 1


class World:
    """A migration that is audited, its way back, and the audit of that."""

    def __init__(self, pair: Pair, folder: Path, stack: ExitStack) -> None:
        pair.execute("CREATE TABLE account (id bigint PRIMARY KEY, balance int NOT NULL, note text)")
        pair.source.execute("INSERT INTO account SELECT n, n, 'note ' || n FROM generate_series(1, 300) n")
        pair.replicate("TABLE account")
        self.pair = pair
        here, there = {"dsn": pair.target.dsn}, {"dsn": pair.source.dsn}
        calls = {name: ["true"] for name in ("hold", "release", "route", "observe")}
        proxy = {"kind": "exec", "name": "none", "probe": here, **calls}
        cutover = {
            "journal": {"dsn": "host=nowhere dbname=journal"}, "control": {"source": there, "target": here},
            "reverse": {"publisher": here}, "proxies": [proxy],
        }  # fmt: skip
        sweep = {"every_seconds": 0.5, "pause_seconds": 0.1}
        self.audit = stack.enter_context(Audit(pair, folder, pair.name.replace("_", "-"), sweep=sweep, cutover=cutover))
        self.settings: Settings = load(self.audit.file)
        sessions = [stack.enter_context(Session(one.dsn, "test")) for one in (pair.source, pair.target)]
        plan = reverse_plan(self.settings)
        self.back = WayBack(*sessions, plan, draw_forward(self.settings), lambda: None)
        self.forward = WayForward(*sessions, plan, draw_back(self.settings), lambda: None)
        self.reverse = ReverseAudit(self.settings)
        stack.callback(lambda: self.reverse.stop(_soon()))

    def arm(self) -> None:
        self.back.prepare_reverse(_soon())
        assert self.reverse.start(_soon())["ready"] is True

    def commit(self) -> None:
        """Do what a cutover does between the last write on the source and the first on the target."""
        fence = self.position(self.pair.source)
        self.pair.catch_up()
        self.back.stop_forward(_soon())
        line = self.back.commit_line(_soon())["commit_line"]
        assert self.back.enable_reverse(fence, line, _soon())["audits_told"] is True

    def position(self, side: Database) -> int:
        return int(side.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))

    def records(self, *, reverse: bool) -> dict[str, Any]:
        settings = load(config_file(self.settings)) if reverse else self.settings
        with closing(open_records(settings)) as records:
            return {key: value for key, value in records.changes().items() if value is not None}

    def findings(self, *, reverse: bool) -> list[Any]:
        """List what an audit accuses somebody of; what the canary plants is none of it."""
        return [one for one in merged_findings(self.records(reverse=reverse)) if one.detector != "canary"]

    def wait_judged(self) -> None:
        """Wait until the reverse audit has judged everything that the target has committed by now."""
        position = self.position(self.pair.target)

        def judged() -> bool:
            records = self.records(reverse=True)
            progress = [records.get(f"progress/{number}") for number in range(2)]
            return all(one and one["resolved"] >= position for one in progress)

        wait_for(judged, 180, "the reverse audit to judge what was written")

    def wait_equal(self) -> None:
        wait_for(lambda: self.pair.source.rows(ROWS) == self.pair.target.rows(ROWS), 180, "equal rows on both sides")


@pytest.fixture
def world(pair: Pair, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(pair, tmp_path, stack)


def test_nobody_is_accused_of_a_cutover_and_the_reverse_audit_sees_who_writes_on_the_source(world: World) -> None:
    pair = world.pair
    with Traffic(pair.source, 1000):
        world.arm()
        world.audit.wait_resolved()
    world.commit()
    with Traffic(pair.target, 100_000) as traffic:
        wait_for(lambda: traffic.written > WRITES, 180, "some traffic on the target")
        wait_for(lambda: world.reverse.verdict(_soon())["verdict"] == "PASS", 180, "the reverse audit to pass")
    world.wait_equal()
    world.wait_judged()
    tallies = [world.records(reverse=True)[f"progress/{number}"]["tallies"] for number in range(2)]
    assert sum(one["tables"].get("public.account", [0, 0])[1] for one in tallies) > WRITES
    assert world.findings(reverse=False) == []
    assert world.findings(reverse=True) == []
    pair.source.execute("UPDATE account SET note = 'behind the back' WHERE id = 100001")
    wait_for(lambda: [one.kind for one in world.findings(reverse=True)] == ["foreign-write"], 180, "the accusation")
    assert world.findings(reverse=False) == []
