"""What each step of a cutover does through the ports. An effect decides nothing: it returns what it read back.

Effects are idempotent, as the ports are: after a restart the conductor performs one again whose end was not recorded.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from orchestrator.cutover import Run, Step
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.evidence import AGREED, later, more_than_agreed
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts, FenceSeen, Ports
from orchestrator.proxies import ProxyGroup, led_elsewhere, unasked
from orchestrator.records import Direction, Journal, LeaseLost
from orchestrator.rules import Rules

ANEW_SECONDS = 0.02
"""Between two questions for a verdict that is newer than another."""
BLOCKED_SECONDS = 1.0
"""Before every part is asked again, where one spoke against what is armed already."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that an effect may use."""

    run: Run
    ports: Ports
    forward: Ports
    """The ports of the way forward, also in a rollback."""
    journal: Journal
    epoch: int
    actor: str
    plan: str
    plan_of: Callable[[Facts], str]
    """Names what would be approved on a verdict of the gate."""
    rules: Rules
    nonce: str
    deadline: Deadline
    wait: Callable[[float], None] = time.sleep
    heard: "Future[Facts] | None" = None
    """The verdict that was asked once the fence was closed."""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def cutover(self) -> str:
        """Name the attempt for others."""
        return f"{self.journal.migration}/{self.run.attempt}"


Effect = Callable[[Scene], Facts]


def perform(step: Step, scene: Scene) -> Facts:
    """Perform one step; give what it read back.

    Raises:
        AuditorError: it did not come to its end; it may or may not have taken effect.
    """
    return EFFECTS[step.name](scene)


# Before anything is held.


def check_all(scene: Scene) -> Facts:
    """Ask every part; one that cannot answer speaks against it as well."""
    ports = scene.ports
    parts: dict[str, Callable[[], Sequence[Blocker]]] = {
        "old side's fence": ports.old.check,
        "new side's fence": ports.new.check,
        "replication": ports.replication.check,
        "rows": ports.rows.check,
        "sequences": ports.sequences.check,
        "consumers": ports.consumers.check,
        **{f"proxy {proxy.name}": proxy.check for proxy in ports.proxies},
        "routing": partial(led_elsewhere, ports.proxies, ports.old),
    }
    found = [blocker for part, check in parts.items() for blocker in _asked(part, check)]
    if not ports.proxies:
        found.append(Blocker("proxies", "no proxy is configured", "configure what leads the applications"))
    if found:
        raise NotReady("; ".join(f"{one.name}: {one.reason} ({one.remedy})" for one in found))
    return {"blockers": 0, "asked": sorted(parts), "places_unasked": unasked(ports.proxies)}


def check_all_again(scene: Scene) -> Facts:
    """Ask every part until none speaks against it: what was armed is not given up for what passes in seconds."""
    return _until(scene, lambda: check_all(scene), BLOCKED_SECONDS)


def _asked(part: str, check: Callable[[], Sequence[Blocker]]) -> Sequence[Blocker]:
    try:
        return check()
    except AuditorError as error:
        return [Blocker(part, f"could not be asked: {error}", "see why, and try again")]


def check_gate(scene: Scene) -> Facts:
    """Wait for a PASS at a sampling rate of 1."""
    return _until(scene, lambda: _passing(scene.ports.gate.verdict(scene.deadline)))


def _passing(verdict: Facts) -> Facts:
    if verdict.get("verdict") != "PASS":
        raise NotReady(f"the gate says {verdict.get('verdict')}: {_first(verdict.get('reasons'))}")
    if verdict.get("rate") != 1:
        raise NotReady(f"transactions are sampled at a rate of {verdict.get('rate')}, not of 1")
    return verdict


def _first(reasons: Any) -> str:
    return str(reasons[0]) if isinstance(reasons, list | tuple) and reasons else "no reason given"


def check_approval(scene: Scene) -> Facts:
    """Find approvals of this plan by enough persons, and bind them to this attempt."""
    attempt = scene.run.attempt
    found = [one for one in scene.journal.approvals(scene.plan) if one.attempt in (None, attempt)]
    persons = sorted({one.actor for one in found})
    if len(persons) < scene.rules.approvals_needed:
        raise NotReady(f"{len(persons)} of {scene.rules.approvals_needed} approvals of plan {scene.plan} are valid")
    scene.journal.use_approvals(scene.epoch, attempt, [one.id for one in found if one.attempt is None])
    return {"enough": True, "by": persons, "plan": scene.plan}


def shadow_reads(scene: Scene) -> Facts:
    return scene.ports.shadow.lead(scene.deadline)


def rehearse_fence(scene: Scene) -> Facts:
    return scene.ports.old.rehearse(scene.deadline)


def close_new(scene: Scene) -> Facts:
    return scene.ports.new.close(scene.deadline)


def prepare_reverse(scene: Scene) -> Facts:
    return scene.ports.replication.prepare_reverse(scene.deadline)


def start_reverse_audit(scene: Scene) -> Facts:
    return scene.ports.audit.start(scene.deadline)


def check_budget(scene: Scene) -> Facts:
    """Refuse to hold writes for longer than they may be."""
    foretold = scene.ports.budget.foretell(scene.run.facts.get("rehearse-fence", {}), scene.deadline)
    predicted = foretold.get("predicted_ms")
    if isinstance(predicted, bool) or not isinstance(predicted, int | float):
        raise NotReady("how long writes would be held is not known")
    if not 0 <= predicted <= scene.rules.hold_budget_ms:
        raise NotReady(f"writes would be held for {predicted:.0f} ms of {scene.rules.hold_budget_ms:.0f} allowed")
    return {**foretold, "budget_ms": scene.rules.hold_budget_ms, "within": True}


# Holding and fencing.


def check_way_back(scene: Scene) -> Facts:
    """Wait until the reverse audit passes, or a person answers for it: also for one that is silent half of the time."""
    unproven = scene.run.opening.get("unproven") is True
    patience = _half(scene.deadline) if unproven else scene.deadline

    def ask() -> Facts:
        try:
            verdict = scene.forward.audit.verdict(patience)
        except LeaseLost:
            raise
        except AuditorError as error:
            if not unproven:
                raise
            return _silent(error, patience)
        if verdict.get("verdict") == "PASS" or (unproven and verdict.get("verdict") == "INCONCLUSIVE"):
            return verdict
        raise NotReady(f"the reverse audit says {verdict.get('verdict')}: {_first(verdict.get('reasons'))}")

    return _until(scene, ask)


def _half(deadline: Deadline) -> Deadline:
    return replace(deadline, at=deadline.at - deadline.left() / 2)


def _silent(error: AuditorError, patience: Deadline) -> Facts:
    """Say that an audit was asked and did not answer, once there was enough patience with it."""
    with suppress(DeadlinePassed):
        patience.left()
        raise NotReady(f"the reverse audit does not answer: {error}") from error
    return _unanswered(error)


def _unanswered(error: AuditorError) -> Facts:
    return {"verdict": "INCONCLUSIVE", "answered": False, "reasons": [f"the reverse audit does not answer: {error}"]}


def start_dead_man(scene: Scene) -> Facts:
    return scene.ports.dead_man.start(scene.run.attempt, scene.deadline)


def warm_up(scene: Scene) -> Facts:
    """Do beforehand whatever the steps that hold writes would have to wait for; see that the log can be followed."""
    for fence in (scene.ports.old, scene.ports.new):
        fence.warm(scene.deadline)
    replication = scene.ports.replication.warm(scene.deadline)
    facts = {**replication, **scene.ports.sequences.warm(scene.deadline), **scene.ports.rows.warm(scene.deadline)}
    predicted = _with_follower(scene.run.facts.get("check-budget", {}), facts["follow_ms"])
    if not predicted <= scene.rules.hold_budget_ms:
        raise NotReady(
            f"writes would be held for {predicted:.0f} ms of {scene.rules.hold_budget_ms:.0f} allowed: "
            f"the log is read {facts['follow_ms']:.0f} ms behind"
        )
    return facts


def _with_follower(foretold: Facts, follow_ms: float) -> float:
    """Foretell again how long writes will be held, now that somebody follows the log; a rollback foretold nothing."""
    allowed = foretold.get("parts", {}).get("compare-last", 0)
    return float(foretold.get("predicted_ms", 0) + max(follow_ms - allowed, 0))


def consume_verdict(scene: Scene) -> Facts:
    """Take a PASS of this moment for this cutover alone; the approvals must still be valid, and be for what it says."""
    check_approval(scene)
    verdict = _passing(_until(scene, lambda: scene.ports.gate.verdict(scene.deadline), ANEW_SECONDS))
    agreed = {name: scene.run.facts.get("check-gate", {}).get(name) for name in AGREED}
    if problem := more_than_agreed(verdict, agreed):
        raise NotReady(f"{problem} than when the cutover began: see `auditor cutover plan`")
    # an override that ended is another plan as well, but takes nothing from what was agreed to
    if (now := scene.plan_of({**verdict, **agreed})) != scene.plan:
        raise NotReady(f"the plan is {now} by now, and approved was {scene.plan}: see `auditor cutover plan`")
    receipt = scene.ports.gate.consume(str(verdict["id"]), scene.cutover, scene.deadline)
    rests_on = {name: verdict.get(name) for name in AGREED}
    digest = verdict.get("evidence_digest")
    return {**receipt, "verdict": verdict["verdict"], "id": verdict["id"], "digest": digest, **rests_on}


def pause_consumers(scene: Scene) -> Facts:
    return scene.ports.consumers.pause(scene.deadline)


def hold_proxies(scene: Scene) -> Facts:
    """Hold every proxy; not without a dead man."""
    if scene.ports.dead_man.alive() is not True:
        raise NotReady("the dead man does not live")
    return ProxyGroup(scene.ports.proxies).hold(scene.deadline)


def close_old(scene: Scene) -> Facts:
    return scene.ports.old.close(scene.deadline)


# Draining and sealing.


def record_fence_lsn(scene: Scene) -> Facts:
    return scene.ports.replication.position(scene.deadline)


def see_marker(scene: Scene) -> Facts:
    scene.ports.replication.write_marker(scene.nonce, scene.deadline)
    seen = scene.ports.replication.see_marker(scene.nonce, scene.deadline)
    return {**seen, "seen": seen.get("nonce") == scene.nonce, "fence_lsn": _fence_lsn(scene)}


def make_durable(scene: Scene) -> Facts:
    return scene.ports.replication.make_durable(scene.deadline)


def compare_last(scene: Scene) -> Facts:
    return scene.ports.rows.compare_last(_fence_lsn(scene), scene.deadline)


def set_sequences(scene: Scene) -> Facts:
    return scene.ports.sequences.set(scene.deadline)


def hand_over_consumers(scene: Scene) -> Facts:
    """Drain each reader to the fence before its new slot is made."""
    drained = scene.ports.consumers.drain(_fence_lsn(scene), scene.deadline)
    if drained.get("behind") != 0:
        raise NotReady(f"{drained.get('behind')} consumers have not confirmed the fence's position")
    return {**scene.ports.consumers.hand_over(scene.deadline), **drained}


def confirm_verdict(scene: Scene) -> Facts:
    """Take the verdict that was asked once the fence was closed; ask now where none was."""
    if scene.heard is None:
        return {**fresh_verdict(scene), "asked_after_fence": "close-old" in scene.run.done}
    try:
        verdict = scene.heard.result(timeout=scene.deadline.left())
    except TimeoutError:
        raise DeadlinePassed(f"{scene.deadline.doing}: the verdict did not come") from None
    return {**verdict, "asked_after_fence": True}


def fresh_verdict(scene: Scene) -> Facts:
    """Ask for a verdict that began after this call: one that is dated after the first answer, by the audit's clock."""
    said = _until(scene, lambda: _asked_verdict(scene), ANEW_SECONDS)
    first = said.get("evaluated_at")

    def ask() -> Facts:
        verdict = _asked_verdict(scene)
        if verdict.get("answered") is not False and not later(verdict.get("evaluated_at"), first):
            raise NotReady(f"the audit has not decided anew since {first}")
        return {**verdict, "evaluated_after": first}

    return said if said.get("answered") is False else _until(scene, ask, ANEW_SECONDS)


def _asked_verdict(scene: Scene) -> Facts:
    """Ask the audit that watches the way of this direction; one that a person has answered for may stay silent."""
    if scene.run.direction is Direction.FORWARD:
        return scene.ports.gate.verdict(scene.deadline)
    if scene.run.facts.get("check-way-back", {}).get("answered") is not False:
        return scene.forward.audit.verdict(scene.deadline)
    try:
        return scene.forward.audit.verdict(_half(scene.deadline))
    except LeaseLost:
        raise
    except AuditorError as error:
        return _unanswered(error)


def stop_forward(scene: Scene) -> Facts:
    return scene.ports.replication.stop_forward(scene.deadline)


def record_commit_line(scene: Scene) -> Facts:
    """Record the new side's position, and see that the old one is fenced still and nobody has written there."""
    ports, deadline = scene.ports, scene.deadline
    asked = in_parallel(
        {
            "line": lambda: ports.replication.commit_line(deadline),
            "fence": lambda: _fence_of(ports.old.observe(deadline)),
            "behind": lambda: ports.rows.behind(_fence_lsn(scene), deadline),
        }
    )
    asked.raise_first()
    return {key: value for facts in asked.answers.values() for key, value in facts.items()}


def _fence_of(seen: FenceSeen) -> Facts:
    return {"closed": seen.closed, "sessions": seen.sessions, "prepared": seen.prepared}


def _fence_lsn(scene: Scene) -> int:
    return int(scene.run.facts["record-fence-lsn"]["fence_lsn"])


# After the commit.


def enable_reverse(scene: Scene) -> Facts:
    line = int(scene.run.facts["record-commit-line"]["commit_line"])
    return scene.ports.replication.enable_reverse(_fence_lsn(scene), line, scene.deadline)


def open_new(scene: Scene) -> Facts:
    return scene.ports.new.open(scene.deadline)


def route_proxies(scene: Scene) -> Facts:
    return _routed(scene, scene.run.direction.new)


def release_proxies(scene: Scene) -> Facts:
    return ProxyGroup(scene.ports.proxies).release(scene.deadline)


def prove_routing(scene: Scene) -> Facts:
    """Ask through every proxy which server answers, and hold it against what the new side says of itself."""
    wanted = scene.ports.new.identity(scene.deadline)

    found = ProxyGroup(scene.ports.proxies).identities(scene.deadline)
    same = {name: (one.system, one.database) == (wanted.system, wanted.database) for name, one in found.items()}
    if elsewhere := sorted(name for name in same if not same[name]):
        raise NotReady(f"{', '.join(elsewhere)}: another server answers than the {scene.run.direction.new}'s")
    answers = {name: {"system": one.system, "address": one.address} for name, one in found.items()}
    return {"proxies": len(found), "elsewhere": 0, "answers": answers, "system": wanted.system}


def count_old_sessions(scene: Scene) -> Facts:
    """Wait until the old side counts no client session, and is closed."""

    def ask() -> Facts:
        seen = scene.ports.old.observe()
        if seen.sessions != 0 or seen.closed is not True:
            raise NotReady(f"the old side shows {seen.sessions} client sessions; closed: {seen.closed}")
        return {"sessions": seen.sessions, "closed": seen.closed}

    return _until(scene, ask)


def write_canary(scene: Scene) -> Facts:
    facts = scene.ports.rows.write_canary(scene.ports.proxies, scene.nonce, scene.deadline)
    seen = facts.get("nonce") == scene.nonce and facts.get("proxies") == len(scene.ports.proxies)
    return {**facts, "seen": seen}


def resume_consumers(scene: Scene) -> Facts:
    return scene.ports.consumers.resume(scene.run.direction.new, scene.deadline)


def retire_way_back(scene: Scene) -> Facts:
    """Remove the way back of the way forward, which a rollback has used up, and the slots on the side left."""
    return _all_of(
        lambda: scene.forward.audit.stop(scene.deadline),
        lambda: scene.ports.consumers.finalize(scene.deadline),
        lambda: scene.forward.replication.disarm(scene.deadline),
    )


def finalize(scene: Scene) -> Facts:
    """Remove both ways, the reverse audit, and the slots that consumers have left."""
    return {
        **scene.ports.audit.stop(scene.deadline),
        **scene.ports.replication.finalize(scene.deadline),
        "consumers": scene.ports.consumers.finalize(scene.deadline),
    }


# The abort.


def open_old(scene: Scene) -> Facts:
    return scene.ports.old.open(scene.deadline)


def route_back(scene: Scene) -> Facts:
    """See every proxy lead to the old side; one that does is left alone."""
    return _routed(scene, scene.run.direction.old)


def resume_forward(scene: Scene) -> Facts:
    return scene.ports.replication.resume_forward(scene.deadline)


def resume_after_abort(scene: Scene) -> Facts:
    """Drop the slots that nobody read, and let the readers go on, each whatever became of the other."""
    old = scene.run.direction.old
    return _all_of(
        lambda: scene.ports.consumers.take_back(scene.deadline),
        lambda: scene.ports.consumers.resume(old, scene.deadline),
    )


def reads_back(scene: Scene) -> Facts:
    return scene.ports.shadow.back(scene.deadline)


def disarm(scene: Scene) -> Facts:
    """Remove what was armed, each part whatever became of the others."""
    return _all_of(
        lambda: scene.ports.audit.stop(scene.deadline),
        lambda: scene.ports.replication.disarm(scene.deadline),
        lambda: scene.ports.new.open(scene.deadline),
    )


# What several share.


def _until(scene: Scene, ask: Callable[[], Facts], pause: float | None = None) -> Facts:
    """Ask again until there is an answer, or the deadline has passed; the last reason is told."""
    pause = scene.rules.poll_seconds if pause is None else pause
    while True:
        try:
            return ask()
        except DeadlinePassed:
            raise
        except NotReady as reason:
            try:
                scene.wait(min(pause, scene.deadline.left()))
                scene.deadline.left()
            except DeadlinePassed:
                raise DeadlinePassed(f"{scene.deadline.doing}: {reason}") from None


def _routed(scene: Scene, to: Side) -> Facts:
    group = ProxyGroup(scene.ports.proxies)
    if all(seen.route is to for seen in group.observe().values()):
        return {"route": to.value, "already": True}
    return group.route(to, scene.deadline)


def _all_of(*parts: Callable[[], Facts]) -> Facts:
    """Do each part even where one before it failed; then raise the first failure, with the others noted."""
    facts: dict[str, Any] = {}
    failures: list[Exception] = []
    for part in parts:
        try:
            facts.update(part())
        except Exception as error:
            failures.append(error)
    if failures:
        for other in failures[1:]:
            failures[0].add_note(str(other))
        raise failures[0]
    return facts


EFFECTS: Mapping[str, Effect] = {
    "check-all": check_all,
    "check-gate": check_gate,
    "check-approval": check_approval,
    "shadow-reads": shadow_reads,
    "rehearse-fence": rehearse_fence,
    "close-new": close_new,
    "prepare-reverse": prepare_reverse,
    "start-reverse-audit": start_reverse_audit,
    "check-budget": check_budget,
    "check-way-back": check_way_back,
    "start-dead-man": start_dead_man,
    "warm-up": warm_up,
    "consume-verdict": consume_verdict,
    "pause-consumers": pause_consumers,
    "hold-proxies": hold_proxies,
    "close-old": close_old,
    "record-fence-lsn": record_fence_lsn,
    "see-marker": see_marker,
    "make-durable": make_durable,
    "compare-last": compare_last,
    "set-sequences": set_sequences,
    "hand-over-consumers": hand_over_consumers,
    "confirm-verdict": confirm_verdict,
    "stop-forward": stop_forward,
    "record-commit-line": record_commit_line,
    "enable-reverse": enable_reverse,
    "open-new": open_new,
    "route-proxies": route_proxies,
    "release-proxies": release_proxies,
    "prove-routing": prove_routing,
    "count-old-sessions": count_old_sessions,
    "write-canary": write_canary,
    "resume-consumers": resume_consumers,
    "retire-way-back": retire_way_back,
    "finalize": finalize,
    "open-old": open_old,
    "route-back": route_back,
    "release-after-abort": release_proxies,
    "resume-forward": resume_forward,
    "resume-after-abort": resume_after_abort,
    "reads-back": reads_back,
    "disarm": disarm,
}
"""By step; `commit`, `win-abort` and `watch` are the conductor's own."""
