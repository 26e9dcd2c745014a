"""`auditor cutover plan` and `approve`: what would be done, what speaks against it, and who agrees to exactly that.

What people approve is named by a digest over the configuration, the servers that answer, the steps with their
deadlines, and what the gate's verdict rests on by somebody's word (overrides, accepted tables, limits). A change of any
of these is another plan, and approvals of the old one count for nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from auditor.bundles.contents import configuration_json
from auditor.cutover.budget import predict
from auditor.cutover.documents import Document, approval_document
from auditor.cutover.steps import rules_of, steps_document
from auditor.cutover.wiring import Assembly, assembled, installed_journal
from auditor.settings import Settings
from auditor.verdicts import sha256
from comparators.errors import AuditorError, NeedsOperator, NotReady
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts
from orchestrator.proxies import led_elsewhere, unasked
from orchestrator.records import Direction, Journal

GATE_SECONDS = 5.0
IDENTITY_SECONDS = 5.0
READY, BLOCKED, UNKNOWN = 0, 1, 3
_CONFIGURED = ("migration", "source", "target", "replication", "tables", "mapping", "sampling_rate", "gate", "cutover")


class NotApprovable(NeedsOperator):
    """The plan is not one that anybody can agree to now."""


def plan_command(settings: Settings, *, as_json: bool) -> int:
    """Print the plan: 0 nothing speaks against it, 1 something does, 3 something is not known."""
    with installed_journal(settings) as journal, assembled(settings, journal) as assembly:
        document = plan_document(settings, assembly)
    print(json.dumps(document) if as_json else screen(document))
    return exit_of(document)


def approve_command(settings: Settings, by: str, wanted: str | None, *, as_json: bool) -> int:
    """Agree to the plan as it is now."""
    with installed_journal(settings) as journal, assembled(settings, journal) as assembly:
        document = approved(settings, assembly, by, wanted)
    print(json.dumps(document) if as_json else f"{by} agrees to {document['digest']}: {document['given']} of "
          f"{document['needed']} approvals")  # fmt: skip
    return READY


def approved(settings: Settings, assembly: Assembly, by: str, wanted: str | None) -> Document:
    """Write an approval down.

    Raises:
        NotApprovable: the plan is another one than was asked for, or the gate does not say PASS.
    """
    verdict, why = gate_now(assembly)
    if verdict.get("verdict") != "PASS":
        reason = why or f"the gate says {verdict.get('verdict')}"
        raise NotApprovable(f"nobody can agree to this now: {reason}", hint="see `auditor cutover plan`")
    digest = digest_of(settings, assembly, verdict)
    if wanted not in (None, digest):
        raise NotApprovable(
            f"the plan is {digest} now, not {wanted}", hint="see `auditor cutover plan`, and agree to that one"
        )
    assert settings.cutover is not None
    assembly.journal.approve(digest, by, settings.cutover.approvals.valid_seconds)
    return {"digest": digest, "by": by, **approvals_document(settings, assembly.journal, digest)}


def digest_now(settings: Settings, assembly: Assembly) -> str:
    """Name the plan as it is at this moment.

    Raises:
        NotReady: the gate gives no verdict, so that what people would agree to is not known.
    """
    verdict, why = gate_now(assembly)
    if why is not None:
        raise NotReady(why)
    return digest_of(settings, assembly, verdict)


def digest_of(settings: Settings, assembly: Assembly, verdict: Facts) -> str:
    """Name a plan by its content."""
    return "sha256:" + sha256(basis(settings, servers(assembly), verdict))


def basis(settings: Settings, seen: Mapping[str, Any], verdict: Facts) -> Document:
    """Give what people agree to, without anything that changes by itself."""
    configured = configuration_json(settings)
    return {
        "configuration": {name: configured[name] for name in _CONFIGURED},
        "servers": dict(seen),
        "steps": [[one["way"], one["step"], one["deadline_seconds"]] for one in steps_document(settings)],
        "conditions": sorted(verdict.get("conditions", {})),
        "overrides": sorted(json.dumps(one, sort_keys=True) for one in verdict.get("overrides", ())),
        "accepted": sorted(verdict.get("accepted", ())),
    }


def servers(assembly: Assembly) -> dict[str, Any]:
    """Ask both sides who they are.

    Raises:
        AuditorError: one does not answer.
    """
    forward = assembly.ports[Direction.FORWARD]
    found = {}
    for fence in (forward.old, forward.new):
        one = fence.identity(Deadline.within(IDENTITY_SECONDS, f"asking the {fence.side} who it is"))
        found[str(fence.side)] = {"system": one.system, "database": one.database}
    return found


def gate_now(assembly: Assembly) -> tuple[Facts, str | None]:
    """Give the gate's verdict, or why there is none."""
    gate = assembly.ports[Direction.FORWARD].gate
    try:
        return gate.verdict(Deadline.within(GATE_SECONDS, "asking the gate")), None
    except AuditorError as error:
        return {}, str(error)


def plan_document(settings: Settings, assembly: Assembly) -> Document:
    """Tell the whole plan."""
    verdict, why = gate_now(assembly)
    digest = None if why else digest_of(settings, assembly, verdict)
    rules = rules_of(settings)
    document = {
        "migration": settings.migration,
        "digest": digest,
        "servers": servers(assembly),
        "steps": steps_document(settings),
        "blockers": blockers(assembly),
        "places_unasked": unasked(assembly.ports[Direction.FORWARD].proxies),
        "gate": {name: verdict.get(name) for name in ("id", "verdict", "rate", "reasons")} | {"error": why},
        "budget": budget_document(assembly, rules.hold_budget_ms),
        "approvals": approvals_document(settings, assembly.journal, digest),
    }
    return document | {"ready": exit_of(document) == READY, "next_steps": next_steps(document)}


def blockers(assembly: Assembly) -> list[Document]:
    """Ask every part at once what speaks against a cutover; a part that cannot answer is itself a blocker.

    Where the proxies lead is asked behind them: it uses their sessions, and their nodes have come back by then.
    """
    ports = assembly.ports[Direction.FORWARD]
    parts: dict[str, Callable[[], Sequence[Blocker]]] = {
        "fence of the source": ports.old.check,
        "fence of the target": ports.new.check,
        "replication": ports.replication.check,
        "rows": ports.rows.check,
        "sequences": ports.sequences.check,
        "consumers": ports.consumers.check,
        **{f"proxy {proxy.name}": proxy.check for proxy in ports.proxies},
    }
    ended = in_parallel({part: lambda check=check: _asked(check) for part, check in parts.items()})  # type: ignore[misc]
    ended.raise_first()
    routing = _asked(partial(led_elsewhere, ports.proxies, ports.old))
    return [
        {"part": part, "name": one.name, "reason": one.reason, "remedy": one.remedy}
        for part, found in {**ended.answers, "routing": routing}.items()
        for one in found
    ]


def budget_document(assembly: Assembly, allowed_ms: float) -> Document:
    """Tell for how long writes would be held, as far as it is known before the fence is rehearsed."""
    try:
        figures = assembly.gate.figures(Deadline.within(GATE_SECONDS, "asking the gate for figures"))
        foretold = predict(figures, {}, assembly.journal.entries(), hooked=assembly.hooked, assume=True)
    except AuditorError as error:
        return {"allowed_ms": allowed_ms, "predicted_ms": None, "within": None, "error": str(error)}
    return {"allowed_ms": allowed_ms, **foretold, "within": foretold["predicted_ms"] <= allowed_ms, "error": None}


def approvals_document(settings: Settings, journal: Journal, digest: str | None) -> Document:
    """Tell who has agreed to a plan, and how many must."""
    assert settings.cutover is not None
    found = [one for one in journal.approvals(digest) if one.attempt is None] if digest else []
    persons = {one.actor for one in found}
    needed = settings.cutover.approvals.needed
    return {"needed": needed, "given": len(persons), "approvals": [approval_document(one) for one in found]}


def exit_of(document: Document) -> int:
    """Say what a plan means to a script; approvals are not waited for."""
    budget, gate = document["budget"], document["gate"]
    if document["blockers"] or budget["within"] is False or gate["verdict"] == "FAIL":
        return BLOCKED
    known = gate["verdict"] == "PASS" and gate["rate"] == 1 and budget["within"] is True
    return READY if known else UNKNOWN


def next_steps(document: Document) -> list[str]:
    """Say what a person would do now."""
    steps = [f"{one['part']}: {one['remedy']}" for one in document["blockers"]]
    gate = document["gate"]
    if gate["verdict"] != "PASS":
        steps.append("auditor gate check")
    elif gate["rate"] != 1:
        steps.append("set sampling: {rate: 1} and start `auditor run` again: a cutover needs every transaction audited")
    if steps:
        return steps
    given, needed = document["approvals"]["given"], document["approvals"]["needed"]
    if given < needed:
        return [f"auditor cutover approve --by NAME --plan {document['digest']}"]
    return ["auditor cutover start"]


def screen(document: Document) -> str:
    """Lay the plan out for a terminal."""
    budget, gate, approvals = document["budget"], document["gate"], document["approvals"]
    lines = [
        f"cutover of {document['migration']}: plan {document['digest'] or 'not known: the gate does not answer'}",
        "",
    ]
    width = max(len(one["step"]) for one in document["steps"])
    lines += [
        f"  {'*' if one['holds_writes'] else ' '} {one['phase']:<10} {one['step']:<{width}} "
        f"{one['deadline_seconds']:>6g} s  {one['does']}"
        for one in document["steps"]
        if one["way"] == "forward"
    ]
    lines += ["  * clients wait while it runs", "", f"gate       {gate['verdict'] or gate['error']}"]
    lines += [f"           {reason}" for reason in gate["reasons"] or ()]
    lines += [f"budget     {_budget_words(budget)}"]
    lines += [f"approvals  {approvals['given']} of {approvals['needed']}"]
    lines += [f"           {one['by']}, for {one['seconds_left']:.0f} s more" for one in approvals["approvals"]]
    lines += [f"blockers   {len(document['blockers']) or 'none'}"]
    lines += [f"  {one['part']}: {one['name']}: {one['reason']}" for one in document["blockers"]]
    lines += [f"not asked  where {name} will lead: see `ask_places`" for name in document["places_unasked"]]
    return "\n".join([*lines, "", "next", *(f"  {step}" for step in document["next_steps"])])


def _budget_words(budget: Document) -> str:
    if budget["predicted_ms"] is None:
        return f"{budget['allowed_ms']:g} ms allowed; what is needed is not known: {budget['error']}"
    assumed = f" ({', '.join(budget['assumed'])}: assumed, not measured yet)" if budget["assumed"] else ""
    return f"{budget['predicted_ms']:g} ms of {budget['allowed_ms']:g} ms{assumed}"


def _asked(check: Callable[[], Sequence[Blocker]]) -> Sequence[Blocker]:
    try:
        return check()
    except AuditorError as error:
        hint = error.hint if isinstance(error, NeedsOperator) else "see why, and ask again"
        return [Blocker("not-known", f"could not be asked: {error}", hint)]
