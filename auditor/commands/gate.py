"""`auditor gate`: serve the verdict, and ask for it."""

import argparse
import time
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, add_json, count, seconds, settings_of
from auditor.commands.processes import add_lifeline, run_process

if TYPE_CHECKING:
    from auditor.settings import Settings

CHECK_EXAMPLES = """
auditor gate check && ./cutover.sh               only on PASS
auditor gate check --wait --timeout 5m           wait until it passes
auditor gate check --url http://10.0.0.5:8432 --json
"""

HISTORY_EXAMPLES = """
auditor gate history
auditor gate history --since 24h --limit 500 --json
"""


def register(commands: Commands) -> None:
    """Add the group."""
    group = commands.group("gate", "serve the verdict, or ask for it")
    add_lifeline(group.add("serve", _serve, "serve the verdict over HTTP", "auditor gate serve -c orders.yaml"))
    check = group.add(
        "check", _check, "exit 0 if the gate says PASS, 1 FAIL, 3 not known, 4 see a person", CHECK_EXAMPLES
    )
    check.add_argument("--wait", action="store_true", help="wait for PASS, or for a FAIL that lasts")
    check.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="how long to wait (default: 60 s)")
    check.add_argument("--url", help="where the gate answers (default: gate.listen on this host)")
    add_json(check)
    history = group.add("history", _history, "what the gate decided, newest first", HISTORY_EXAMPLES)
    history.add_argument("--limit", type=count, default=20, metavar="N", help="at most N entries (default: 20)")
    history.add_argument("--since", metavar="TIME", help="only since: 30m, 12h, 7d or 2030-01-31T12:00:00Z")
    explain = group.add("explain", _explain, "why a verdict was what it was", "auditor gate explain v_0123456789abcdef")
    explain.add_argument("verdict", metavar="VERDICT", help="its id, the beginning of it, or its number in the history")
    for command in (history, explain):
        add_json(command)


def _serve(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        from auditor.gate import serve

        return int(serve(settings))

    return run_process(args, "gate", body)


def _check(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.gate_check import check

    return int(check(settings, args.url, args.wait, args.timeout, args.json))


def _history(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings import moment
    from auditor.verdict_history import history_command

    since = None if args.since is None else moment(args.since, time.time(), past=True, option="--since")
    return history_command(settings, args.limit, since, as_json=args.json)


def _explain(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.verdict_history import explain_command

    return explain_command(settings, args.verdict, as_json=args.json)
