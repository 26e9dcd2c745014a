"""The gate as a cutover asks it: over HTTP, and believed only where the answer is whole, fresh and consistent."""

import json
from collections.abc import Mapping
from typing import Any

from auditor.gate_check import Untrusted, judge
from auditor.gate_client import GateClient, GateUnreachable, Way, client_of, detail_of
from auditor.settings import Settings
from comparators.errors import NotReady
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts
from orchestrator.records import now_utc

LONGEST_ANSWER = 5.0
"""A gate that needs longer is not well, whatever the step's deadline."""
_SHOWN = ("id", "verdict", "evaluated_at", "valid_until", "reasons", "needs_person", "evidence_digest", "consumed_by")


class HttpGate:
    """Asks the gate of one migration."""

    def __init__(self, settings: Settings, reader: GateClient, consumer: GateClient) -> None:
        """Take the ways in.

        Args:
            reader, consumer: with a token of the scope `read`, and of `consume`, where the gate asks who it is.
        """
        self._settings, self._reader, self._consumer = settings, reader, consumer
        self._path = f"/v1/migrations/{settings.migration}"

    @classmethod
    def of(cls, settings: Settings) -> "HttpGate":
        """Find the way to the migration's own gate.

        Raises:
            SettingInvalid: a token or file cannot be read.
        """
        return cls(settings, client_of(settings, Way()), client_of(settings, Way(), "consume"))

    def verdict(self, deadline: Deadline) -> Facts:
        """Let the gate decide now; give its verdict, with the overrides in force, needed now or not, as `overrides`.

        `rate` is the share of transactions that both samplers audit.

        Raises:
            NotReady: there is no answer to rely on.
        """
        body = self._asked(self._reader, "GET", "/gate?anew=1", deadline)
        try:
            answer = judge(body, self._settings.migration, self._settings.gate.valid_seconds, now_utc().timestamp())
        except Untrusted as reason:
            raise NotReady(f"the gate gives no verdict to rely on: {reason}") from None
        document = answer.document
        shown = {name: document.get(name) for name in _SHOWN}
        conditions = {part["name"]: part["status"] for part in document["conditions"]}
        rate = (document.get("sample") or {}).get("rate")
        accepted = (document.get("coverage") or {}).get("accepted", [])
        return {**shown, "conditions": conditions, "overrides": _standing(document), "accepted": accepted, "rate": rate}

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts:
        """Take an evaluation for one cutover; the same again gives the same receipt.

        Raises:
            NotReady: the gate refuses, or there is no answer.
        """
        body = self._asked(self._consumer, "POST", "/gate:consume", deadline, {"cutover": cutover, "verdict": verdict})
        receipt = _object(body)
        if (receipt.get("id"), receipt.get("cutover")) != (verdict, cutover):
            raise NotReady("the gate's receipt is about another verdict or another cutover")
        return {"receipt": receipt}

    def figures(self, deadline: Deadline) -> Mapping[str, Mapping[str, Any]]:
        """Give what the probes measured last, by group; a group that failed or was never heard of has none.

        Raises:
            NotReady: there is no answer.
        """
        groups = _object(self._asked(self._reader, "GET", "/preflight", deadline)).get("groups", [])
        return {group["group"]: {} if group["error"] else group["figures"] for group in groups}

    def blocking(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        """List the conditions that do not hold now.

        Raises:
            NotReady: there is no answer.
        """
        conditions = _object(self._asked(self._reader, "GET", "/gate", deadline)).get("conditions", [])
        return [part for part in conditions if part["status"] != "PASS"]

    def _asked(
        self, client: GateClient, method: str, path: str, deadline: Deadline, body: Mapping[str, Any] | None = None
    ) -> bytes:
        seconds = min(deadline.left(), LONGEST_ANSWER)
        try:
            status, reason, answer = client.request(method, f"{self._path}{path}", seconds, body)
        except GateUnreachable as error:
            raise NotReady(str(error)) from None
        if status != 200:
            raise NotReady(f"the gate answers {status} {reason}{detail_of(answer)}")
        return answer


def _standing(document: Mapping[str, Any]) -> list[Any]:
    """Give the overrides in force: those that are applied come and go with a number that swings around its limit."""
    standing = document.get("overrides_standing")
    if not isinstance(standing, list):
        raise NotReady("the gate does not say which overrides are in force: it may be of another version")
    return standing


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotReady("the gate's answer is not what a gate says")
    return found
