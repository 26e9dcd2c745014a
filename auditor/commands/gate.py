"""`auditor gate`: serve the verdict, and ask for it."""

import argparse
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, add_json, seconds, settings_of
from auditor.commands.processes import add_lifeline, run_process

if TYPE_CHECKING:
    from auditor.settings import Settings

CHECK_EXAMPLES = """
auditor gate check && ./cutover.sh               only on PASS
auditor gate check --wait --timeout 5m           wait until it passes
auditor gate check --url http://10.0.0.5:8432 --json
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


def _serve(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        from auditor.gate import serve

        return int(serve(settings))

    return run_process(args, "gate", body)


def _check(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.gate_check import check

    return int(check(settings, args.url, args.wait, args.timeout, args.json))
