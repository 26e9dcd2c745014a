"""The cutover against an adversary: any fault, kill, stop, request and cut at any call; I1 to I26 hold throughout.

The machine under test is the real one (table, conductor, recovery, dead man) in a world without servers. The adversary
chooses what goes wrong and when; the world judges by what is true in it. `test_cutover_invariants` names each.
"""

from contextlib import suppress
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from comparators.errors import AuditorError
from orchestrator.conductor import Moment
from orchestrator.cutover import ALL_STEPS, told
from orchestrator.records import JournalUnavailable, Wish
from tests.cutovers import (
    RULES,
    Fault,
    Killed,
    World,
    broken,
    bug,
    killed,
    late,
    raises,
    stopped,
    stuck_person,
)

CALLS = [
    "source.close", "source.open", "source.observe", "target.close", "target.open", "target.observe",
    "pool-1.hold", "pool-1.route", "pool-1.release",
    "replication.prepare_reverse", "replication.position", "replication.see_marker", "replication.make_durable",
    "replication.stop_forward", "replication.commit_line", "replication.resume_forward", "replication.enable_reverse",
    "replication.disarm", "rows.compare_last", "rows.write_canary", "sequences.set", "consumers.drain",
    "consumers.hand_over", "consumers.take_back", "consumers.resume", "audit.start", "audit.stop", "dead_man.start",
    "shadow.lead", "shadow.back", "gate.consume",
]  # fmt: skip
JOURNAL_CALLS = ["append", "decide", "entries", "requests", "renew", "use_approvals", "answer", "release", "acquire"]
QUICK = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)  # explaining takes minutes
WHENS = st.sampled_from(["before", "after"])
WISHES = st.sampled_from([Wish.ABORT, Wish.ROLLBACK, Wish.PANIC, Wish.POSTPONE, Wish.UNPOSTPONE, Wish.FINALIZE])
SHORT = replace(RULES, steps={"check-gate": 1, "check-way-back": 1, "count-old-sessions": 1}, insist_seconds=2)


def _quiet(world: World, moment: str) -> None:
    """No fault."""


def _asks(wish: Wish) -> Fault:
    def fault(world: World, moment: str) -> None:
        world.journal.request(wish, "ana", "because")

    return fault


class Adversary(RuleBasedStateMachine):
    """Arms faults, lets orchestrators and dead men run into them, and looks at the world after each."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(proxies=1)  # several are asked in threads, which no example could repeat
        self.number = 0

    def _name(self) -> str:
        self.number += 1
        return f"orchestrator {self.number}"

    @rule(call=st.sampled_from(CALLS), make=st.sampled_from([broken, late, bug, stuck_person]), when=WHENS)
    def a_port_fails(self, call, make, when):
        self.world.faults.setdefault(call, []).append(make(when))

    @rule(call=st.sampled_from(CALLS), when=WHENS)
    def killed_in_a_port(self, call, when):
        self.world.faults.setdefault(call, []).append(killed(when))

    @rule(step=st.sampled_from(sorted(ALL_STEPS)), moment=st.sampled_from(list(Moment)))
    def killed_at_a_step(self, step, moment):
        self.world.moments[step, moment] = killed()

    @rule(step=st.sampled_from(sorted(ALL_STEPS)), moment=st.sampled_from(list(Moment)))
    def stopped_until_the_dead_man_acted(self, step, moment):
        self.world.moments[step, moment] = stopped(30, World.run_dead_man)

    @rule(call=st.sampled_from(JOURNAL_CALLS), when=WHENS, calm=st.integers(0, 25))
    def the_journal_is_cut(self, call, when, calm):
        cut = raises(JournalUnavailable("cut"), when)
        self.world.faults[f"journal.{call}"] = [_quiet] * calm + [cut]

    @rule(call=st.sampled_from(JOURNAL_CALLS), when=WHENS, calm=st.integers(0, 25))
    def killed_at_the_journal(self, call, when, calm):
        self.world.faults[f"journal.{call}"] = [_quiet] * calm + [killed(when)]

    @rule(step=st.sampled_from(sorted(ALL_STEPS)), moment=st.sampled_from(list(Moment)), wish=WISHES)
    def an_operator_asks_at_a_step(self, step, moment, wish):
        self.world.moments[step, moment] = _asks(wish)

    @rule(wish=WISHES)
    def an_operator_asks(self, wish):
        self.world.journal.request(wish, "ana", "because")

    @rule(verdict=st.sampled_from(["PASS", "PASS", "FAIL", "INCONCLUSIVE", None]))
    def the_verdict_turns(self, verdict):
        self.world.verdict = verdict

    @rule(verdict=st.sampled_from(["PASS", "PASS", "FAIL", "INCONCLUSIVE", None]))
    def the_reverse_verdict_turns(self, verdict):
        self.world.reverse_verdict = verdict

    @rule(seconds=st.sampled_from([1, 11, 60]))
    def time_passes(self, seconds):
        self.world.skew += seconds
        self.world.traffic()

    @rule()
    def the_dead_man_looks(self):
        with suppress(AuditorError):  # he looks again
            self.world.run_dead_man()

    @rule(begin=st.booleans())
    def an_orchestrator_runs(self, begin):
        self.run(begin)

    @rule()
    def a_person_acknowledges_and_starts_again(self):
        for run in told(self.world.journal.entries()):
            self.world.journal.request(Wish.ACKNOWLEDGE, "ana", "seen", attempt=run.attempt)
        self.run(begin=True)

    def run(self, begin: bool) -> None:
        """Let another orchestrator process run until it ends, dies or waits for a person."""
        world = self.world
        world.waits = 0
        world.moments.setdefault(("watch", Moment.INTENT), _asks(Wish.FINALIZE))
        world.journal.request(Wish.UNPOSTPONE, "ana", "now")
        world.approve()
        conductor = world.conductor(self._name(), SHORT)
        with suppress(Killed, AuditorError):  # the next one reads what is left
            conductor.start() if begin else conductor.resume()

    @invariant()
    def nothing_that_must_never_happen(self):
        assert [] == self.world.violations
        assert self.world.journal.verify().intact

    @invariant()
    def what_is_acknowledged_is_kept(self):
        """The side decided on has each write, or the way to it still carries it."""
        world = self.world
        owner = world.owner()
        there = world.sides[owner].rows | set(world.sides[owner.other].stream)
        assert set(world.acknowledged) <= there

    @invariant()
    def one_side_at_most_takes_writes_through_the_proxies(self):
        open_and_led_to = {
            proxy.leads_to for proxy in self.world.proxies if not proxy.held and self.world.sides[proxy.leads_to].open
        }
        assert len(open_and_led_to) <= 1

    def teardown(self):
        """However it went: once the faults are over it ends by itself, with one writable side and nothing lost."""
        world = self.world
        world.faults.clear()
        world.moments.clear()
        world.verdict = world.reverse_verdict = "PASS"
        world.skew += 60
        world.run_dead_man()
        for _ in range(4):
            world.skew += 60
            world.moments["watch", Moment.INTENT] = _asks(Wish.FINALIZE)
            self.run(begin=False)
        assert [] == world.settled()


Adversary.TestCase.settings = settings(max_examples=40, stateful_step_count=20, suppress_health_check=list(HealthCheck))
TestAdversary = pytest.mark.timeout(900)(Adversary.TestCase)

PORTS_THAT_FAIL = st.tuples(
    st.sampled_from(CALLS), st.sampled_from([broken, late, bug, stuck_person, killed]), WHENS
).map(lambda drawn: (drawn[0], [drawn[1](drawn[2])]))
JOURNALS_THAT_FAIL = st.tuples(st.sampled_from(JOURNAL_CALLS), WHENS, st.integers(0, 40), st.booleans()).map(
    lambda drawn: (
        f"journal.{drawn[0]}",
        [_quiet] * drawn[2] + [killed(drawn[1]) if drawn[3] else raises(JournalUnavailable("cut"), drawn[1])],
    )
)
STOPS = st.tuples(
    st.sampled_from(sorted(ALL_STEPS)),
    st.sampled_from(list(Moment)),
    st.one_of(WISHES.map(_asks), st.just(killed()), st.just(stopped(30, World.run_dead_man))),
)


@pytest.mark.timeout(900)  # much is tried; nothing of it waits
@given(st.lists(st.one_of(PORTS_THAT_FAIL, JOURNALS_THAT_FAIL), max_size=4), st.lists(STOPS, max_size=3), st.booleans())
@settings(max_examples=150, suppress_health_check=list(HealthCheck), phases=QUICK)
def test_one_attempt_under_several_faults_ends_with_one_writable_side_and_nothing_lost(faults, stops, dead_man_first):
    adversary = Adversary()
    world = adversary.world
    for call, armed in faults:
        world.faults.setdefault(call, []).extend(armed)
    for step, moment, fault in stops:
        world.moments[step, moment] = fault
    adversary.run(begin=True)
    adversary.what_is_acknowledged_is_kept()
    adversary.one_side_at_most_takes_writes_through_the_proxies()
    if dead_man_first:
        world.skew += 60
        adversary.the_dead_man_looks()
    adversary.run(begin=False)
    adversary.nothing_that_must_never_happen()
    adversary.teardown()
