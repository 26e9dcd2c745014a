"""`auditor cutover`: what each command prints, asks for and exits with, on a world without servers."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.cli import main
from auditor.cutover import asking, planning, reading, running
from auditor.cutover.asking import followed
from auditor.cutover.opening import Permission
from auditor.cutover.steps import rules_of
from auditor.cutover.wiring import Assembly
from auditor.settings import Settings, load
from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.conductor import Ending, Moment
from orchestrator.cutover import ALL_STEPS, STEPS, Phase
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker
from orchestrator.records import Direction, Journal, Wish
from orchestrator.rehearsal import MemoryJournal
from tests.cutovers import PLAN, World, broken, killed
from tests.unit.test_cutover_settings import changed

FIGURES: Mapping[str, Mapping[str, Any]] = {
    "activity": {"oldest_transaction_seconds": 0.01},
    "capacity": {"predicted_drain_seconds": 0.01},
    "lag": {"marker_p99_ms": 3.0},
}


class Figures:
    """Stands for the gate where its figures are asked for."""

    def __init__(self) -> None:
        self.known = FIGURES

    def figures(self, deadline: Deadline) -> Mapping[str, Mapping[str, Any]]:
        return self.known


class Desk:
    """A configuration, and a world in the place of what it names."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World()
        self.figures = Figures()
        self.file = folder / "auditor.yaml"
        document = changed(guard_seconds=0, approvals={"needed": 1})
        self.file.write_text(yaml.safe_dump(document | {"state_dir": str(folder / "state")}))
        self.settings = load(self.file)
        for module in (reading, asking, running, planning):
            for name, stand_in in (
                ("opened_journal", self.journal), ("installed_journal", self.journal), ("assembled", self.assembled),
            ):  # fmt: skip
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, stand_in)

    @contextmanager
    def journal(self, settings: Settings) -> Iterator[Journal]:
        yield self.world.journal

    @contextmanager
    def assembled(self, settings: Settings, journal: Journal) -> Iterator[Assembly]:
        ports = {direction: self.world.ports(direction) for direction in Direction}
        yield Assembly(journal, ports, self.figures, Permission(lambda: True))  # type: ignore[arg-type]

    def run(self, *words: str) -> int:
        return main(["cutover", *words, "-c", str(self.file)])

    @property
    def journal_now(self) -> MemoryJournal:
        return self.world.journal


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# What there is.


def test_without_the_section_every_command_says_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "auditor.yaml"
    file.write_text(yaml.safe_dump({name: value for name, value in changed().items() if name != "cutover"}))
    for words in (["plan"], ["start"], ["status"], ["abort", "--by", "a", "--reason", "b"], ["verify-journal"]):
        assert main(["cutover", *words, "-c", str(file)]) == 2
        assert "cutover: is missing in the configuration; hint:" in capsys.readouterr().err


def test_the_steps_are_listed_with_the_configurations_deadlines(desk: Desk, capsys: Any) -> None:
    document = changed(steps={"see-marker": 7})
    desk.file.write_text(yaml.safe_dump(document))
    assert desk.run("steps", "--json") == 0
    listed = answer(capsys)["steps"]
    assert {one["step"] for one in listed} == set(ALL_STEPS)
    (marker,) = [one for one in listed if one["step"] == "see-marker" and one["way"] == "forward"]
    assert marker["deadline_seconds"] == 7
    assert desk.run("steps") == 0
    text = capsys.readouterr().out
    assert all(f" {step.name} " in text for step in STEPS)


def test_steps_need_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDITOR_CONFIG", raising=False)
    assert main(["cutover", "steps", "--json"]) == 0
    assert len(answer(capsys)["steps"]) > len(STEPS)


# Planning and approving.


def test_a_plan_that_nothing_speaks_against_is_ready(desk: Desk, capsys: Any) -> None:
    assert desk.run("plan", "--json") == 0
    plan = answer(capsys)
    assert (plan["ready"], plan["blockers"], plan["gate"]["verdict"]) == (True, [], "PASS")
    assert re.fullmatch("sha256:[0-9a-f]{64}", plan["digest"])
    assert plan["budget"]["assumed"] == ["close-old", "journal"]
    assert plan["next_steps"] == [f"auditor cutover approve --by NAME --plan {plan['digest']}"]
    assert desk.run("plan") == 0
    assert plan["digest"] in capsys.readouterr().out


def test_what_blocks_is_told_with_its_remedy(desk: Desk, capsys: Any) -> None:
    desk.world.blockers.append(Blocker("rights", "CREATEROLE is missing", "grant it"))
    assert desk.run("plan", "--json") == 1
    plan = answer(capsys)
    assert plan["blockers"][0]["reason"] == "CREATEROLE is missing"
    assert any("grant it" in step for step in plan["next_steps"])


@pytest.mark.parametrize(
    ("verdict", "rate", "code"), [("FAIL", 1.0, 1), ("INCONCLUSIVE", 1.0, 3), ("PASS", 0.01, 3), ("PASS", None, 3)]
)
def test_a_gate_that_is_not_open_at_rate_one_is_no_go(
    desk: Desk, capsys: Any, verdict: str, rate: float | None, code: int
) -> None:
    desk.world.verdict, desk.world.rate = verdict, rate  # type: ignore[assignment]
    assert desk.run("plan", "--json") == code
    assert answer(capsys)["ready"] is False


def test_a_budget_that_is_not_known_is_no_go_and_one_that_is_too_small_blocks(desk: Desk, capsys: Any) -> None:
    desk.figures.known = {}
    assert desk.run("plan", "--json") == 3
    assert "not known" in answer(capsys)["budget"]["error"]
    desk.figures.known = {**FIGURES, "capacity": {"predicted_drain_seconds": 5.0}}
    assert desk.run("plan", "--json") == 1
    assert answer(capsys)["budget"]["within"] is False


def test_an_approval_names_the_plan_of_now(desk: Desk, capsys: Any) -> None:
    assert desk.run("approve", "--by", "Jo Doe", "--json") == 0
    approved = answer(capsys)
    assert (approved["by"], approved["given"], approved["needed"]) == ("Jo Doe", 1, 1)
    (found,) = desk.journal_now.approvals(approved["digest"])
    assert found.actor == "Jo Doe"
    assert desk.run("plan", "--json") == 0
    assert answer(capsys)["next_steps"] == ["auditor cutover start"]


def test_nobody_can_agree_to_another_plan_or_to_a_closed_gate(desk: Desk, capsys: Any) -> None:
    assert desk.run("approve", "--by", "Jo", "--plan", "sha256:old") == 4
    assert "the plan is sha256:" in capsys.readouterr().err
    desk.world.verdict = "INCONCLUSIVE"
    assert desk.run("approve", "--by", "Jo") == 4
    assert "the gate says INCONCLUSIVE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"hold_budget_ms": 700},
        {"steps": {"see-marker": 1}},
        {"fence": {"keep": ["cdc"]}},
        {"proxies__0__places__target": "host=10.0.0.9 port=5432"},
        {"proxies__0__ask_places": False},
        {"control__target__dsn": "host=10.0.0.9 dbname=app user=control"},
        {"guard_seconds": 1},
    ],
)
def test_any_change_of_what_would_be_done_is_another_plan(desk: Desk, capsys: Any, change: dict[str, Any]) -> None:
    digests = []
    for document in (changed(), changed(**change)):
        desk.file.write_text(yaml.safe_dump(document))
        desk.run("plan", "--json")
        digests.append(answer(capsys)["digest"])
    assert len(set(digests)) == 2


def test_a_proxy_whose_places_are_not_asked_is_named(desk: Desk, capsys: Any) -> None:
    assert [] == (desk.run("plan", "--json"), answer(capsys))[1]["places_unasked"]
    desk.world.proxies[1].places_asked = False
    assert ["pool-2"] == (desk.run("plan", "--json"), answer(capsys))[1]["places_unasked"]
    desk.run("plan")
    assert "where pool-2 will lead" in capsys.readouterr().out


def test_an_override_or_another_server_is_another_plan_and_time_is_not(desk: Desk) -> None:
    seen = {"source": {"system": "1"}, "target": {"system": "2"}}
    verdict = {"conditions": {"lag-ms": "PASS"}, "overrides": [], "accepted": [], "evaluated_at": "now", "id": "v_1"}
    whole = planning.basis(desk.settings, seen, verdict)
    later = verdict | {"evaluated_at": "later", "id": "v_2", "conditions": {"lag-ms": "INCONCLUSIVE"}}
    assert planning.basis(desk.settings, seen, later) == whole
    for other in (verdict | {"overrides": [{"id": "o_1"}]}, verdict | {"accepted": ["public.t"]}):
        assert planning.basis(desk.settings, seen, other) != whole
    assert planning.basis(desk.settings, seen | {"target": {"system": "3"}}, verdict) != whole


def test_no_secret_is_in_what_people_agree_to(desk: Desk) -> None:
    document = changed(journal={"dsn": "host=10.0.0.3 dbname=journal user=a password=hunter22"})
    desk.file.write_text(yaml.safe_dump(document))
    assert "hunter22" not in json.dumps(planning.basis(load(desk.file), {}, {}))


# Reading.


def went(desk: Desk) -> None:
    """Let a whole cutover happen in the world."""
    desk.world.hook = lambda phase: finalize(desk) if phase == "GUARDED" else None
    desk.world.run()


def finalize(desk: Desk) -> None:
    desk.journal_now.request(Wish.FINALIZE, "ben", "done")


def test_a_whole_cutover_is_told(desk: Desk, capsys: Any) -> None:
    went(desk)
    assert desk.run("status", "--json") == 0
    status = answer(capsys)
    assert (status["phase"], status["writable"], status["proof_chain"]) == ("FINALIZED", "target", "complete")
    assert desk.run("status") == 0
    assert "writable side  target" in capsys.readouterr().out
    assert desk.run("status", "--watch") == 0
    assert capsys.readouterr().out == "orders: attempt 1: FINALIZED\n"
    assert desk.run("report", "--json") == 0
    assert answer(capsys)["result"] == "finalized"
    for form in ("markdown", "html"):
        assert desk.run("report", "--format", form) == 0
        assert "close-old" in capsys.readouterr().out


def test_history_gives_entries_in_order_and_as_many_as_asked_for(desk: Desk, capsys: Any) -> None:
    went(desk)
    assert desk.run("history", "--json", "--limit", "3", "--attempt", "1") == 0
    numbers = [entry["seq"] for entry in answer(capsys)["entries"]]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3
    assert desk.run("history") == 0
    assert "commit" in capsys.readouterr().out


def test_a_journal_that_was_tampered_with_is_told(desk: Desk, capsys: Any) -> None:
    went(desk)
    assert desk.run("verify-journal", "--json") == 0
    assert answer(capsys)["intact"] is True
    entries = desk.journal_now._entries
    entries[3] = replace(entries[3], actor="nobody")
    assert desk.run("verify-journal") == 1
    assert "entry 4 was changed" in capsys.readouterr().out


def test_an_attempt_that_is_not_there_is_a_usage_error(desk: Desk, capsys: Any) -> None:
    assert desk.run("report") == 2
    assert "there is no attempt" in capsys.readouterr().err
    went(desk)
    assert desk.run("report", "--attempt", "7") == 2
    assert "there is no attempt 7; hint: attempts in the journal: 1" in capsys.readouterr().err


def test_a_failed_attempt_needs_a_person(desk: Desk, capsys: Any) -> None:
    desk.world.lies["rows.compare_last"] = {"different": 1}
    desk.world.run()
    assert desk.run("status", "--json") == 4
    status = answer(capsys)
    assert (status["result"], status["acknowledgement_owed"], status["writable"]) == ("aborted", 1, "source")


def test_a_journal_that_was_never_set_up_is_not_known(desk: Desk, monkeypatch: Any, capsys: Any) -> None:
    def empty(settings: Settings) -> Any:
        raise NotReady("the journal is empty")

    monkeypatch.setattr(reading, "opened_journal", empty)
    assert desk.run("status") == 3


# Asking.


def test_there_must_be_something_to_ask_about(desk: Desk, capsys: Any) -> None:
    assert desk.run("abort", "--by", "ann", "--reason", "x") == 2
    assert "there is no attempt yet" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["abort", "--by", "ann"], ["rollback", "--reason", "x"], ["approve"]])
def test_nobody_asks_without_a_name_and_a_reason(desk: Desk, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        desk.run(*words)
    assert ended.value.code == 2


def test_a_wish_that_nobody_answers_stays_and_is_not_known(desk: Desk, capsys: Any) -> None:
    went(desk)
    journal = desk.journal_now
    journal.acquire("somebody", 60)
    assert desk.run("rollback", "--by", "ann", "--reason", "slow", "--timeout", "0.1", "--json") == 3
    told = answer(capsys)
    assert (told["wish"], told["by"], told["answer"]) == ("rollback", "ann", None)
    assert journal.requests()[-1].wish is Wish.ROLLBACK


def test_a_wish_is_carried_out_where_no_orchestrator_lives(desk: Desk) -> None:
    """The one that held writes is gone; who asks for the abort brings the source back."""
    world = desk.world
    world.moments[("compare-last", Moment.INTENT)] = killed()
    assert world.run() is None
    world.skew += 60
    journal = world.journal
    asked = asking.ask(journal, Wish.ABORT, "ann", "it is gone")

    def carry_on() -> None:
        world.conductor("ann").resume()

    code, words = followed(journal, asked, 5, carry_on, pause=world.wait)
    assert (code, words) == (0, "attempt 1 is aborted")
    assert world.settled() == []


def test_an_abort_after_the_commit_is_refused(desk: Desk) -> None:
    world, asked = desk.world, list[Any]()

    def late(phase: str) -> None:
        if phase == "GUARDED" and not asked:
            asked.append(world.journal.request(Wish.ABORT, "ann", "too slow"))
            finalize(desk)

    world.hook = late
    world.run()
    code, words = followed(world.journal, asked[0], 1, lambda: None, pause=world.wait)
    assert (code, words) == (1, "too late, the commit was won: ask for a rollback")


def test_a_rollback_is_done_once_the_source_is_back(desk: Desk) -> None:
    world, asked = desk.world, list[Any]()

    def back(phase: str) -> None:
        if phase == "GUARDED" and not asked:
            asked.append(world.journal.request(Wish.ROLLBACK, "ann", "slow"))

    world.hook = back
    world.run()
    code, words = followed(world.journal, asked[0], 1, lambda: None, pause=world.wait)
    assert (code, words.partition(":")[0]) == (0, "attempt 2 is returned")
    assert world.settled() == []


def stuck(desk: Desk, call: str) -> World:
    """A world whose orchestrator has called a person and gone; what it could not do can be done by now."""
    world = desk.world
    world.faults[call] = [broken()] * 200
    ending = world.run()
    assert ending is not None
    assert ending.phase is Phase.STUCK
    world.faults.clear()
    return world


def carried_out(world: World, wish: Wish) -> tuple[int, str]:
    asked = asking.ask(world.journal, wish, "ann", "there is no way forward")
    code, words = followed(world.journal, asked, 5, lambda: world.conductor("ann").resume(), pause=world.wait)
    assert world.journal.requests()[-1].answer is not None, "it would come true when somebody starts again"
    return code, words


def test_a_rollback_is_carried_out_from_where_it_is_stuck(desk: Desk) -> None:
    world = stuck(desk, "rows.write_canary")
    code, words = carried_out(world, Wish.ROLLBACK)
    assert (code, words.partition(":")[0]) == (0, "attempt 2 is returned")
    assert world.settled() == []


def test_an_abort_that_is_stuck_is_carried_to_its_end(desk: Desk) -> None:
    desk.world.faults["replication.commit_line"] = [broken()]
    world = stuck(desk, "replication.disarm")
    assert carried_out(world, Wish.ABORT) == (0, "attempt 1 is aborted")
    assert world.settled() == []


def test_what_cannot_be_carried_out_from_where_it_is_stuck_is_answered(desk: Desk) -> None:
    """The old side was opened by somebody: nothing goes on before a person has looked."""
    world = stuck(desk, "rows.write_canary")
    world.sides[Side.SOURCE].open = True
    world.faults["source.close"] = [broken()] * 9
    code, words = carried_out(world, Wish.ROLLBACK)
    assert (code, words.partition(":")[0]) == (4, "stuck")
    assert "a person is needed first" in str(world.journal.requests()[-1].answer)


@pytest.mark.parametrize("holder", [None, "dead man:7"])
def test_what_nobody_would_carry_out_is_not_written_by_who_does_not_do_it(desk: Desk, holder: str | None) -> None:
    world = stuck(desk, "rows.write_canary")
    if holder is not None:
        world.journal.acquire(holder, 60)
    with pytest.raises(asking.NotFromHere, match="nobody is there") as refused:
        asking.ask(world.journal, Wish.ROLLBACK, "ann", "slow", here=False)
    assert "auditor cutover rollback" in str(refused.value.hint)
    assert world.journal.requests() == []


def test_what_is_asked_from_afar_waits_for_who_is_at_work(desk: Desk) -> None:
    world = stuck(desk, "rows.write_canary")
    world.journal.acquire("ben@host:7", 60)
    assert asking.ask(world.journal, Wish.ROLLBACK, "ann", "slow", here=False).answer is None


def test_a_wish_whose_carrying_out_fails_does_not_come_true_later(desk: Desk) -> None:
    world = stuck(desk, "rows.write_canary")
    asked = asking.ask(world.journal, Wish.ROLLBACK, "ann", "slow")

    def carry_on() -> None:
        raise NotReady("the target cannot be reached")

    with pytest.raises(NotReady):
        followed(world.journal, asked, 5, carry_on, pause=world.wait)
    assert "the target cannot be reached" in str(world.journal.requests()[-1].answer)
    lease = world.journal.lease()
    assert lease is None or lease.over
    world.hook = lambda phase: finalize(desk) if phase == "GUARDED" else None
    assert world.conductor("ben").resume().phase is Phase.FINALIZED


@pytest.mark.parametrize("wish", ["abort", "rollback", "finalize", "panic"])
def test_what_there_is_no_way_to_from_where_it_is_stuck_is_not_written(desk: Desk, capsys: Any, wish: str) -> None:
    world = stuck(desk, "replication.enable_reverse")
    assert desk.run(wish, "--by", "ann", "--reason", "x") == 4
    assert f"there is no {wish} from there" in capsys.readouterr().err
    assert world.journal.requests() == []


# Starting.


def test_start_carries_out_what_was_approved_and_ends_well(desk: Desk, capsys: Any) -> None:
    assert desk.run("approve", "--by", "ben") == 0
    capsys.readouterr()
    desk.world.hook = lambda phase: finalize(desk) if phase == "GUARDED" else None
    assert desk.run("start", "--by", "ann", "--json") == 0
    status = answer(capsys)
    assert (status["phase"], status["proof_chain"]) == ("FINALIZED", "complete")
    assert status["attempts"][0]["attempt"] == 1
    assert desk.journal_now.entries()[0].actor.startswith("ann@")
    assert desk.world.settled() == []


def test_start_without_an_approval_is_refused_and_with_a_failure_aborted(desk: Desk, capsys: Any) -> None:
    desk.file.write_text(desk.file.read_text().replace("approvals:", "steps: {check-approval: 0.3}\n  approvals:"))
    assert desk.run("start", "--json") == 1
    refused = answer(capsys)
    assert refused["result"] == "refused"
    assert "approvals" in refused["reason"]
    assert desk.run("approve", "--by", "ben") == 0
    capsys.readouterr()
    desk.world.lies["rows.compare_last"] = {"different": 1}
    assert desk.run("start", "--json") == 1
    aborted = answer(capsys)
    assert (aborted["result"], aborted["writable"]) == ("aborted", "source")
    assert desk.run("start") == 4
    assert "--acknowledge 2" in capsys.readouterr().err
    for early in ("3", "1"):
        assert desk.run("start", "--acknowledge", early, "--reason", "in advance") == 2
        assert "attempt 2 failed last" in capsys.readouterr().err
    assert desk.journal_now.requests() == []
    desk.world.lies.clear()
    assert desk.run("approve", "--by", "ben") == 0
    capsys.readouterr()
    desk.world.hook = lambda phase: finalize(desk) if phase == "GUARDED" else None
    assert desk.run("start", "--acknowledge", "2", "--reason", "the row was mended", "--json") == 0


def test_what_was_acknowledged_already_is_left_as_it_is(desk: Desk) -> None:
    desk.world.lies["rows.compare_last"] = {"different": 1}
    desk.world.run()
    for reason in ("seen", "said again"):
        running.acknowledge_failure(desk.journal_now, 1, "ann", reason)
    assert [one.reason for one in desk.journal_now.requests()] == ["seen"]


def test_a_dry_run_lists_every_action_and_does_none(desk: Desk, capsys: Any) -> None:
    before = list(desk.world.calls)
    assert desk.run("start", "--dry-run", "--json") == 0
    told = answer(capsys)
    assert told["phase"] == "FINALIZED"
    assert {"hold-proxies", "close-old", "route-proxies"} <= {one["step"] for one in told["actions"]}
    changing = [call for call in desk.world.calls[len(before) :] if "close" in call or "route" in call]
    assert changing == []
    assert desk.journal_now.entries() == []


def test_an_attempt_goes_on_with_its_own_plan_where_the_gate_is_away(desk: Desk) -> None:
    world = desk.world
    world.moments[("route-proxies", Moment.INTENT)] = killed()
    assert world.run() is None
    world.alive = True
    world.faults["gate.verdict"] = [gate_away] * 9
    with desk.assembled(desk.settings, world.journal) as assembly:
        assert running.plan_to_conduct(desk.settings, assembly) == PLAN


def gate_away(world: World, moment: str) -> None:
    raise NotReady("the gate is away")


def test_the_rules_are_the_configurations(desk: Desk) -> None:
    document = changed(
        guard_seconds=9, hold_budget_ms=400, lease_seconds=5, approvals={"needed": 2}, suite={"max_p99_ms": 7}
    )
    desk.file.write_text(yaml.safe_dump(document))
    rules = rules_of(load(desk.file))
    assert (rules.guard_seconds, rules.hold_budget_ms, rules.approvals_needed) == (9, 400, 2)
    assert (rules.lease_seconds, rules.renew_seconds) == (5, 1)
    assert rules.max_p99_ms is None
    reads = {"reads": [{"name": "one", "sql": "SELECT 1"}], "max_p99_ms": 7}
    desk.file.write_text(yaml.safe_dump(changed(suite=reads)))
    assert rules_of(load(desk.file)).max_p99_ms == 7


def test_a_phase_is_told_to_scripts(desk: Desk) -> None:
    assert running.exit_of(Ending(1, phase=Phase.FINALIZED)) == 0
    assert running.exit_of(Ending(1, phase=Phase.STUCK)) == 4
    assert running.exit_of(Ending(1, phase=Phase.REPLICATING)) == 1
