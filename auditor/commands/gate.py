"""`auditor gate`: serve the verdict, and ask for it."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, add_json, count, seconds, settings_of
from auditor.commands.processes import add_lifeline, run_process

if TYPE_CHECKING:
    from auditor.gate_client import Way
    from auditor.settings import Settings

CHECK_EXAMPLES = """
auditor gate check && ./cutover.sh               only on PASS
auditor gate check --wait --timeout 5m           wait until it passes
auditor gate check --url https://gate.example:8432 --ca ca.crt --token env:GATE_TOKEN --json
"""

OVERRIDE_EXAMPLES = """
auditor gate override lag-bytes --owner "Jo Doe" --reason "nightly batch" --until 6h
auditor gate override --revoke o_0123456789abcdef
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
    _add_way(check, "where the gate answers (default: gate.listen on this host)")
    add_json(check)
    override = group.add(
        "override", _override, "take responsibility for a condition over its limit, by name", OVERRIDE_EXAMPLES
    )
    override.add_argument("condition", nargs="?", metavar="CONDITION", help="as `auditor gate check` names it")
    override.add_argument("--item", metavar="NAME", help="the item of a checklist's condition, as preflight names it")
    override.add_argument("--owner", help="who takes responsibility")
    override.add_argument("--reason", help="why")
    override.add_argument("--until", metavar="TIME", help="when it ends, at most 30 days ahead: 6h, 7d or a time")
    override.add_argument("--revoke", metavar="ID", help="take an override back")
    overrides = group.add("overrides", _overrides, "who takes responsibility for what", "auditor gate overrides --json")
    for command in (override, overrides):
        _add_way(command, "ask the gate there (default: write and read the records directly)")
        add_json(command)
    history = group.add("history", _history, "what the gate decided, newest first", HISTORY_EXAMPLES)
    history.add_argument("--limit", type=count, default=20, metavar="N", help="at most N entries (default: 20)")
    history.add_argument("--since", metavar="TIME", help="only since: 30m, 12h, 7d or 2030-01-31T12:00:00Z")
    explain = group.add("explain", _explain, "why a verdict was what it was", "auditor gate explain v_0123456789abcdef")
    explain.add_argument("verdict", metavar="VERDICT", help="its id, the beginning of it, or its number in the history")
    for command in (history, explain):
        add_json(command)


def _add_way(command: argparse.ArgumentParser, url: str) -> None:
    command.add_argument("--url", help=url)
    command.add_argument("--token", metavar="REF", help="a token for it: env:NAME or file:PATH")
    for option, what in (
        ("ca", "the authority of its certificate"),
        ("cert", "a client certificate"),
        ("key", "the key of the client certificate"),
    ):
        command.add_argument(f"--{option}", type=Path, metavar="FILE", help=f"PEM file with {what}")


def _way(args: argparse.Namespace) -> "Way":
    from auditor.gate_client import Way

    return Way(args.url, args.token, args.ca, args.cert, args.key)


def _serve(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        from auditor.gate import serve

        return int(serve(settings))

    return run_process(args, "gate", body, at_once=True)


def _check(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.gate_check import check
    from auditor.gate_client import client_of

    client = client_of(settings, _way(args))
    return int(check(settings, args.url, args.wait, args.timeout, args.json, client=client))


def _override(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.override_command import override_command

    return override_command(settings, args, _way(args))


def _overrides(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.override_command import overrides_command

    return overrides_command(settings, _way(args), as_json=args.json)


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
