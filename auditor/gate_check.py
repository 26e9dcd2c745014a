"""`auditor gate check`: ask the gate, believe only an answer that is fresh, whole and consistent, exit accordingly."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditor.gate_client import GateClient, GateUnreachable, detail_of
from auditor.settings import Settings
from comparators.findings import time_text
from orchestrator.conditions import NAMES, Status
from orchestrator.measured import FUTURE_SECONDS

ASK_SECONDS = 0.5
ANSWER_SECONDS = 5.0
EXIT = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3}
NEEDS_PERSON = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict, or the reason why there is none to rely on."""

    document: Mapping[str, Any]
    status: Status
    needs_person: bool = False
    since: float | None = None

    @property
    def code(self) -> int:
        return NEEDS_PERSON if self.needs_person else EXIT[self.status]


class Untrusted(Exception):
    """The answer must not be relied on; the text says why."""


def check(
    settings: Settings,
    url: str | None = None,
    wait: bool = False,
    timeout: float = 60.0,
    as_json: bool = False,
    *,
    client: GateClient | None = None,
    now: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Ask the gate, print its verdict and give the exit code.

    Args:
        url: where the gate answers; `None` means this host, as `gate.listen` says.
        wait: ask again until PASS, or until a FAIL has lasted for the dwell time, or until the time is over.
        timeout: seconds.
        client: asks for us; `None` asks `url` without a token.
        now, pause: the clock and how to pass time.
    Returns:
        0 PASS, 1 FAIL, 3 not known (unreachable, expired and contradictory answers included), 4 a person is needed.
    """
    client = client or GateClient(url or settings.gate.url)
    deadline = now() + timeout
    answer = ask(client, settings, min(ANSWER_SECONDS, timeout), now)
    said = ""
    while wait and not _final(answer, settings.gate.dwell_seconds, now()) and now() < deadline:
        said = _progress(answer, said)
        pause(max(0.0, min(ASK_SECONDS, deadline - now())))
        answer = ask(client, settings, max(0.1, min(ANSWER_SECONDS, deadline - now())), now)
    print(json.dumps(answer.document) if as_json else _text(answer))
    return answer.code


def ask(client: GateClient, settings: Settings, timeout: float, now: Callable[[], float]) -> Answer:
    """Get one answer; whatever goes wrong becomes INCONCLUSIVE with its reason."""
    try:
        body = _get(client, f"/v1/migrations/{settings.migration}/gate", max(0.1, timeout))
        return judge(body, settings.migration, settings.gate.valid_seconds, now())
    except Untrusted as reason:
        return _no_answer(settings.migration, str(reason), now())


def judge(body: bytes, migration: str, valid_seconds: float, now: float) -> Answer:
    """Take a verdict only if it is this migration's, in force at `now`, complete and free of contradictions.

    Raises:
        Untrusted: it is not; the text says what is wrong.
    """
    try:
        document = json.loads(body)
    except ValueError:
        raise Untrusted("the gate's answer is not JSON") from None
    if not isinstance(document, dict):
        raise Untrusted("the gate's answer is not a verdict")
    if document.get("migration") != migration:
        raise Untrusted(f"the answer is about migration {document.get('migration')!r}, not {migration!r}")
    try:
        status = Status(document["verdict"])
    except (KeyError, ValueError):
        raise Untrusted(f"the verdict is {document.get('verdict')!r}, which is none") from None
    _check_time(document, valid_seconds, now)
    needs_person = document.get("needs_person")
    if not isinstance(needs_person, bool):
        raise Untrusted("the answer does not say whether a person is needed")
    _check_conditions(document, status, needs_person)
    return Answer(document, status, needs_person, _optional_time(document.get("since")))


def _check_time(document: Mapping[str, Any], valid_seconds: float, now: float) -> None:
    evaluated, until = (_optional_time(document.get(name)) for name in ("evaluated_at", "valid_until"))
    if evaluated is None or until is None:
        raise Untrusted("the answer does not say when it was made and until when it is valid")
    if evaluated > now + FUTURE_SECONDS:
        raise Untrusted(f"the answer is dated {evaluated - now:.0f} s in the future; check the clocks")
    if now > min(until, evaluated + valid_seconds):
        raise Untrusted(f"the answer is {now - evaluated:.0f} s old and no longer valid")


def _check_conditions(document: Mapping[str, Any], status: Status, needs_person: bool) -> None:
    listed = document.get("conditions")
    if not isinstance(listed, list) or not all(isinstance(part, dict) for part in listed):
        raise Untrusted("the answer lists no conditions")
    try:
        parts = {str(part["name"]): Status(part["status"]) for part in listed}
    except (KeyError, ValueError):
        raise Untrusted("a condition in the answer has no name or no status") from None
    if len(parts) != len(listed):
        raise Untrusted("the answer names a condition twice")
    if lacking := [name for name in (*NAMES, "dwell") if name not in parts]:
        raise Untrusted(f"the answer leaves out: {', '.join(lacking)}")
    worst = max(parts.values(), key=[Status.PASS, Status.INCONCLUSIVE, Status.FAIL].index)
    # Conditions that all hold may still be INCONCLUSIVE (someone was more careful), never the other way round.
    if (status is not worst and status is not Status.INCONCLUSIVE) or (worst is Status.FAIL and status is not worst):
        raise Untrusted(f"the verdict is {status}, but its conditions say {worst}")
    if status is Status.PASS and document.get("reasons") != []:
        raise Untrusted("the verdict is PASS and yet gives reasons against it")
    if status is Status.PASS and needs_person:
        raise Untrusted("the verdict is PASS and yet a person is needed")


def _optional_time(text: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def _get(client: GateClient, path: str, timeout: float) -> bytes:
    try:
        status, reason, body = client.request("GET", path, timeout)
    except GateUnreachable as error:
        raise Untrusted(str(error)) from None
    if not 200 <= status < 300:
        raise Untrusted(f"{client.base}{path} answers {status} {reason}{detail_of(body)}")
    return body


def _no_answer(migration: str, reason: str, now: float) -> Answer:
    document = {
        "migration": migration,
        "verdict": str(Status.INCONCLUSIVE),
        "evaluated_at": time_text(now),
        "valid_until": time_text(now),
        "conditions": [],
        "reasons": [reason],
        "positions": {"source": None, "audited_through": None, "target_applied": None},
        "sample": {"transactions": None, "changes": None, "matched": None, "in_window_share": None, "bound_95": None},
        "needs_person": False,
        "evidence_digest": None,
        "next_steps": ["auditor status", "auditor run"],
    }
    return Answer(document, Status.INCONCLUSIVE)


def _final(answer: Answer, dwell_seconds: float, now: float) -> bool:
    if answer.status is Status.FAIL:
        return answer.since is not None and now - answer.since >= dwell_seconds
    return answer.status is Status.PASS and not answer.needs_person


def _progress(answer: Answer, said: str) -> str:
    """Tell on stderr what is being waited for, once per change of the picture."""
    waiting = [part["name"] for part in answer.document["conditions"] if part["status"] != Status.PASS]
    text = f"{answer.status}: waiting for {', '.join(waiting) or answer.document['reasons'][0]}"
    if text != said:
        print(text, file=sys.stderr, flush=True)
    return text


def _text(answer: Answer) -> str:
    document = answer.document
    lines = [
        f"{document['migration']}: {document['verdict']}" + (" - a person is needed" if answer.needs_person else "")
    ]
    lines += [f"  {part['status']:<12} {part.get('reason') or part['name']}" for part in document["conditions"]]
    if not document["conditions"]:
        lines += [f"  {reason}" for reason in document.get("reasons") or ()]
    sample = document.get("sample") or {}
    if sample.get("bound_95") is not None:
        bound = f"at most {sample['bound_95']:.4%} of transactions differ, at 95 % confidence"
        lines.append(f"  {sample.get('transactions')} transactions compared: {bound} (worst table)")
    lines += [f"  next: {step}" for step in document.get("next_steps") or () if answer.status is not Status.PASS]
    return "\n".join(lines)
