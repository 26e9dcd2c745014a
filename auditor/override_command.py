"""`auditor gate override|overrides`: take responsibility by name, list who did, take it back.

Without `--url` the records are written and read directly, so it works while the gate is down; with it the gate's API
is asked.
"""

import getpass
import json
import re
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from auditor.fields import below
from auditor.findings import moment
from auditor.gate_client import GateClient, GateUnreachable, Way, client_of, detail_of
from auditor.overriding import AREA, new_override, override_json
from auditor.records import open_records
from auditor.settings import Settings
from auditor.status import read_records
from comparators.errors import Retryable, SettingInvalid
from comparators.findings import time_text
from orchestrator.overrides import refusal
from orchestrator.seen import OverrideSeen

ANSWER_SECONDS = 10.0
OVERRIDE_NAME = re.compile(r"o_[0-9a-f]{16}")


class GateRefused(SettingInvalid):
    """The gate understood and said no."""


class GateAway(Retryable):
    """The gate did not answer, or cannot work now."""


def override_command(settings: Settings, args: Namespace, way: Way) -> int:
    """Make an override, or take one back; print it."""
    if args.revoke:
        return _revoke(settings, args, way)
    for name in ("condition", "owner", "reason", "until"):
        if not getattr(args, name):
            option = "CONDITION" if name == "condition" else f"--{name}"
            raise SettingInvalid(f"{option}: is missing", hint="CONDITION --owner NAME --reason TEXT --until TIME")
    now = time.time()
    asked = {
        "condition": args.condition, "item": args.item, "owner": args.owner, "reason": args.reason,
        "until": time_text(moment(args.until, now, past=False, option="--until")),
    }  # fmt: skip
    made = _ask(settings, way, "POST", "", asked) if way.url else _write(settings, asked, now)
    words = f"{made['id']}: {_line(made)}; the gate says so, and what is not known stays closed"
    print(json.dumps(made) if args.json else words)
    return 0


def overrides_command(settings: Settings, way: Way, *, as_json: bool) -> int:
    """List the overrides."""
    now = time.time()
    if way.url:
        listed: Sequence[Mapping[str, Any]] = _ask(settings, way, "GET", "")["overrides"]
    else:
        records = below(read_records(settings), AREA)
        listed = [override_json(name, record) for name, record in records.items()]
    if as_json:
        print(json.dumps({"overrides": listed}))
    else:
        print("\n".join(f"{one['id']}  {_line(one)}{_idle(one, now)}" for one in listed) or "no overrides are recorded")
    return 0


def _revoke(settings: Settings, args: Namespace, way: Way) -> int:
    if not OVERRIDE_NAME.fullmatch(args.revoke):
        raise SettingInvalid(f"--revoke: {args.revoke} is no override's id", hint="auditor gate overrides")
    if way.url:
        _ask(settings, way, "DELETE", f"/{args.revoke}")
    else:
        key = AREA + args.revoke
        with closing(open_records(settings)) as store:
            if key not in store.changes():
                raise SettingInvalid(f"--revoke: there is no {args.revoke}", hint="auditor gate overrides")
            store.put({key: None})
    print(json.dumps({"id": args.revoke, "revoked": True}) if args.json else f"{args.revoke} is taken back")
    return 0


def _write(settings: Settings, asked: Mapping[str, Any], now: float) -> dict[str, Any]:
    name, record = new_override(asked, f"user:{getpass.getuser()}", now)
    with closing(open_records(settings)) as store:
        store.put({AREA + name: record})
    return override_json(name, record)


def _ask(settings: Settings, way: Way, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    client: GateClient = client_of(settings, way)
    try:
        status, reason, answer = client.request(
            method, f"/v1/migrations/{settings.migration}/overrides{path}", ANSWER_SECONDS, body
        )
    except GateUnreachable as error:
        raise GateAway(str(error)) from None
    if not 200 <= status < 300:
        text = f"{client.base} answers {status} {reason}{detail_of(answer)}"
        if 400 <= status < 500 and status != 429:
            raise GateRefused(text, hint="docs/api.md lists what each answer means")
        raise GateAway(text)
    return json.loads(answer) if answer else None


def _line(one: Mapping[str, Any]) -> str:
    what = one["condition"] + (f" ({one['item']})" if one.get("item") else "")
    return f"{what} is accepted by {one['owner']} until {one['until']}: {one['reason']}"


def _idle(one: Mapping[str, Any], now: float) -> str:
    at, until = (None if not one.get(name) else _seconds(one[name]) for name in ("at", "until"))
    why = refusal(OverrideSeen(one["id"], owner=one["owner"], reason=one["reason"], at=at, until=until), now)
    return f" [counts for nothing: {why}]" if why else ""


def _seconds(text: str) -> float:
    return moment(text, 0.0, past=True, option="until")
