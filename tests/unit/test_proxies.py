"""All proxies as one: held all or none, and each of them led and let go."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.cutover import Event
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts, Identity, ProxySeen
from orchestrator.proxies import ProxyGroup, led_elsewhere
from orchestrator.records import Kind
from tests.cutovers import FakeFence, World


@dataclass
class Scripted:
    """A proxy that does as it is told, or fails at what it is told to fail at."""

    name: str
    fails: frozenset[str] = frozenset()
    lets_go: bool = False
    held: bool | None = False
    route_to: Side | None = Side.SOURCE
    places_asked: bool = True
    calls: list[str] = field(default_factory=list)

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what in self.fails:
            raise NotReady(f"{self.name} cannot {what}")

    def check(self) -> Sequence[Blocker]:
        return [Blocker("room", "no room", "make some")]

    def hold(self, deadline: Deadline) -> Facts:
        self._do("hold")
        self.held = not self.lets_go
        return {"held": True}

    def release(self, deadline: Deadline) -> Facts:
        self._do("release")
        self.held = False
        return {"held": False}

    def route(self, to: Side, deadline: Deadline) -> Facts:
        self._do("route")
        self.route_to = to
        return {"route": to.value}

    def observe(self) -> ProxySeen:
        return ProxySeen(self.held, self.route_to)

    def probe(self, deadline: Deadline) -> Identity:
        self._do("probe")
        return Identity("1", "app", f"{self.name}:5432")


def soon() -> Deadline:
    return Deadline.within(30, "a test")


def test_all_are_held() -> None:
    proxies = [Scripted("a"), Scripted("b")]
    facts = ProxyGroup(proxies).hold(soon())
    assert {"held": True, "proxies": {"a": {"held": True}, "b": {"held": True}}} == facts
    assert [True, True] == [proxy.held for proxy in proxies]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_that_cannot_be_held_lets_all_go(failing: int) -> None:
    proxies = [Scripted(name, frozenset({"hold"} if failing == at else ())) for at, name in enumerate("abc")]
    with pytest.raises(NotReady, match=f"{'abc'[failing]} cannot hold"):
        ProxyGroup(proxies).hold(soon())
    assert [False] * 3 == [proxy.held for proxy in proxies]
    assert all("release" in proxy.calls for proxy in proxies)  # the failed one may hold all the same


def test_one_that_lets_go_while_others_are_held_lets_all_go() -> None:
    proxies = [Scripted("a"), Scripted("restarted", lets_go=True)]
    with pytest.raises(NotReady, match="restarted let go again"):
        ProxyGroup(proxies).hold(soon())
    assert [False, False] == [proxy.held for proxy in proxies]


def test_one_that_cannot_be_seen_is_not_held() -> None:
    blind = Scripted("blind")
    blind.observe = lambda: ProxySeen(None, None)  # type: ignore[method-assign]
    with pytest.raises(NotReady, match="blind"):
        ProxyGroup([blind, Scripted("b")]).hold(soon())


def test_a_hold_that_cannot_be_undone_says_so() -> None:
    proxies = [Scripted("a", frozenset({"hold"})), Scripted("b", frozenset({"release"}))]
    with pytest.raises(NotReady, match="a cannot hold") as failed:
        ProxyGroup(proxies).hold(soon())
    assert ["not all proxies were let go again: b cannot release"] == failed.value.__notes__


@pytest.mark.parametrize("what", ["release", "route"])
def test_each_is_tried_whatever_becomes_of_the_others(what: str) -> None:
    proxies = [Scripted("a", frozenset({what})), Scripted("b")]
    group = ProxyGroup(proxies)
    group.hold(soon())
    with pytest.raises(NotReady, match=f"a cannot {what}"):
        group.release(soon()) if what == "release" else group.route(Side.TARGET, soon())
    assert [[what], [what]] == [proxy.calls[-1:] for proxy in proxies]


def test_all_are_led() -> None:
    proxies = [Scripted("a"), Scripted("b")]
    facts = ProxyGroup(proxies).route(Side.TARGET, soon())
    assert "target" == facts["route"]
    assert [Side.TARGET, Side.TARGET] == [proxy.route_to for proxy in proxies]


def test_each_is_asked_who_answers() -> None:
    identities = ProxyGroup([Scripted("a"), Scripted("b")]).identities(soon())
    assert {"a": "a:5432", "b": "b:5432"} == {name: one.address for name, one in identities.items()}


def test_one_that_does_not_answer_fails_the_proof() -> None:
    with pytest.raises(NotReady, match="b cannot probe"):
        ProxyGroup([Scripted("a"), Scripted("b", frozenset({"probe"}))]).identities(soon())


def test_what_speaks_against_it_names_the_proxy() -> None:
    assert ["a: room", "b: room"] == [one.name for one in ProxyGroup([Scripted("a"), Scripted("b")]).check()]


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        ProxyGroup([Scripted("a"), Scripted("a")])


# Where they lead before a cutover begins.


def test_proxies_that_lead_to_the_old_side_are_fine() -> None:
    world = World()
    assert [] == led_elsewhere(world.proxies, FakeFence(world, Side.SOURCE))


def test_a_proxy_that_leads_to_the_new_side_already_is_found() -> None:
    world = World()
    world.proxies[1].leads_to = Side.TARGET
    (found,) = led_elsewhere(world.proxies, FakeFence(world, Side.SOURCE))
    assert ("pool-2 leads to the target", "lead it to the source") == (found.reason, found.remedy)


def test_a_proxy_that_shows_the_old_side_while_another_server_answers_is_found() -> None:
    (found,) = led_elsewhere([Scripted("pool")], FakeFence(World(), Side.SOURCE))
    assert "through pool app at pool:5432 answers, which is not the source" == found.reason


@pytest.mark.parametrize("proxy", [Scripted("pool", frozenset({"probe"})), Scripted("pool", route_to=None)])
def test_a_proxy_of_which_nothing_is_known_is_found(proxy: Scripted) -> None:
    assert ["route"] == [one.name for one in led_elsewhere([proxy], FakeFence(World(), Side.SOURCE))]


def test_a_cutover_does_not_begin_while_a_proxy_leads_elsewhere() -> None:
    world = World()
    world.proxies[1].leads_to = Side.TARGET
    world.traffic_on = False  # the world itself would count its writes as writes of two sides
    ending = world.run()
    assert Event.REFUSED is ending.ended, ending
    assert "pool-2 leads to the target" in ending.reason
    assert "pool-1.hold" not in world.calls


def test_a_cutover_tells_of_which_proxies_the_places_were_not_asked() -> None:
    world = World()
    world.proxies[1].places_asked, world.rate = False, 0.5  # it ends at the next step
    world.run()
    facts = [entry.facts for entry in world.journal.entries() if entry.step == "check-all" and entry.kind is Kind.DONE]
    assert [["pool-2"]] == [one["places_unasked"] for one in facts]
