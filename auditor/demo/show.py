"""The show itself: watch, inject a fault a third of the way through, and end when the gate has said what it should."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from auditor.demo.faults import Fault
from auditor.demo.observability import DIVERGENCE
from auditor.demo.summary import Ending, Injected, judge
from auditor.demo.view import Show
from auditor.demo.watch import Watch
from auditor.demo.world import Plan, World
from auditor.servers import ServerFailed

GRACE_SECONDS = 180.0
"""How much longer the show goes on while the gate has not yet said what it should."""
DRAIN_SECONDS = 4.0
LOOK_SECONDS = 0.1
UNLIMITED_INJECTION_SECONDS = 10.0
JOIN_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for."""

    seconds: float | None
    """None: until Ctrl-C."""
    fault: Fault | None = None
    variant: str = ""

    @property
    def inject_after(self) -> float:
        return UNLIMITED_INJECTION_SECONDS if self.seconds is None else self.seconds / 3

    @property
    def inject_at_last(self) -> float:
        """From here on the fault does not wait for the gate to open."""
        return 2 * self.inject_after


class Injection:
    """Injects one fault in a thread, so that the view goes on."""

    def __init__(self, world: World, order: Order) -> None:
        self._world, self._order = world, order
        self._thread = threading.Thread(target=self._inject, name="fault", daemon=True)
        self._over = threading.Event()
        self.injected: Injected | None = None
        self.healed = False
        self.failure: Exception | None = None

    @property
    def begun(self) -> bool:
        return self._thread.ident is not None

    @property
    def alerted(self) -> bool:
        """Say whether whoever watches was alerted of what the fault has damaged."""
        watchers, fault = self._world.watchers, self._order.fault
        return watchers is None or fault is None or not fault.expected or DIVERGENCE in watchers.fired()

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Heal at once what would have lasted, and wait for it."""
        self._over.set()
        if self.begun:
            self._thread.join(JOIN_SECONDS)

    def _inject(self) -> None:
        assert self._order.fault is not None
        fault, variant = self._order.fault, self._order.variant
        try:
            harm = self._world.harm or fault.inject(self._world.stage, variant)
            self.injected = Injected(fault, variant, harm)
            if harm.heal is not None:
                self._over.wait(fault.hold_seconds)
                harm.heal()
            self.healed = True
        except Exception as error:  # handed to the main thread
            self.failure = error


def perform(world: World, plan: Plan, order: Order, show: Show) -> Ending:
    """Run the show to its end.

    Raises:
        ServerFailed: the auditor ended by itself.
    """
    url = f"{world.url}/v1/migrations/{world.settings.migration}"
    watch, injection = Watch(url, world.records, lambda: world.workload.committed), Injection(world, order)
    began = time.monotonic()
    watch.start()
    world.workload.start()
    try:
        _follow(world, order, watch, injection, show, lambda: time.monotonic() - began)
    except KeyboardInterrupt:
        if order.seconds is not None:
            raise
    finally:
        injection.end()
        world.workload.stop()
        watch.stop()
    seconds = time.monotonic() - began
    _drain(watch)
    transport = "kafka" if plan.kafka else "memory (ephemeral; the slots hold the log)"
    injected = injection.injected
    alerts = world.watchers.fired() if world.watchers else None
    return Ending(
        seconds, watch.picture, watch.turns, injected, plan.limits, transport, world.workload.problems, alerts
    )


def _follow(
    world: World, order: Order, watch: Watch, injection: Injection, show: Show, clock: Callable[[], float]
) -> None:
    while not _over(order, watch, injection, clock()):
        show(watch.picture, clock(), _phase(order, injection, clock()))
        if (ended := world.auditor_ended()) is not None:
            raise ServerFailed(f"auditor run ended by itself\n{ended}")
        if injection.failure:
            raise injection.failure
        if order.fault and not injection.begun and _due(order, watch, clock()):
            injection.begin()
        time.sleep(LOOK_SECONDS)


def _due(order: Order, watch: Watch, seconds: float) -> bool:
    if order.fault is not None and order.fault.early:
        return True
    opened = any(turn.verdict == "PASS" for turn in watch.turns)
    return seconds >= (order.inject_after if opened else order.inject_at_last)


def _over(order: Order, watch: Watch, injection: Injection, seconds: float) -> bool:
    if order.seconds is None or seconds < order.seconds:
        return False
    return _satisfied(order, watch, injection) or seconds >= order.seconds + GRACE_SECONDS


def _satisfied(order: Order, watch: Watch, injection: Injection) -> bool:
    """Say whether the gate has said what it should."""
    if order.fault is None:
        return bool(watch.picture.verdict["verdict"] == "PASS")
    injected = injection.injected
    if injected is None or not injection.healed:
        return False
    return judge(injected, watch.picture, watch.turns).as_expected and injection.alerted


def _phase(order: Order, injection: Injection, seconds: float) -> str:
    if order.fault is None or not injection.begun:
        over = order.seconds is not None and seconds > order.seconds
        return "waiting for the gate" if over else "under load"
    if injection.injected is None:
        return f"injecting {order.fault.name}"
    return f"{order.fault.name} injected" + ("" if injection.healed else ", and lasts")


def _drain(watch: Watch) -> None:
    """Let the audit finish what was written, and look a last time."""
    deadline, before = time.monotonic() + DRAIN_SECONDS, -1
    while time.monotonic() < deadline:
        sampled = watch.look().figures.sampled or 0
        if sampled == before:
            return
        before = sampled
        time.sleep(0.5)
