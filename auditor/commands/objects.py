"""`auditor prepare` and `auditor teardown`: our own objects on both sides."""

import argparse
import json
from typing import Any

from auditor.commands.arguments import Commands, add_json, settings_of, start_log

PREPARE_EXAMPLES = """
auditor prepare --dry-run          print the SQL, change nothing
auditor prepare
auditor prepare --new-baseline     start over after a slot was lost; the gap is recorded as unaudited
"""


def register(commands: Commands) -> None:
    """Add the commands."""
    prepare = commands.add("prepare", _prepare, "create our objects on both sides", PREPARE_EXAMPLES)
    teardown = commands.add(
        "teardown", _teardown, "remove our objects from both sides", "auditor teardown --dry-run\nauditor teardown"
    )
    for command in (prepare, teardown):
        command.add_argument("--dry-run", action="store_true", help="print the SQL, change nothing")
        add_json(command)
    prepare.add_argument("--without-canary", action="store_true", help="go on without marker and canary tables")
    prepare.add_argument("--new-baseline", action="store_true", help="begin the audit anew at the present position")


def _prepare(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    start_log(args, "prepare")
    from auditor.preparation import prepare_migration

    report = prepare_migration(
        settings, dry_run=args.dry_run, without_canary=args.without_canary, new_baseline=args.new_baseline
    )
    return _show(report, args.json)


def _teardown(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    start_log(args, "teardown")
    from auditor.preparation import teardown_migration

    return _show(teardown_migration(settings, dry_run=args.dry_run), args.json)


def _show(report: Any, as_json: bool) -> int:
    print(json.dumps(report.document) if as_json else report.text)
    return int(report.code)
