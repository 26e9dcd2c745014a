"""`auditor findings`: what was found, and what became of it."""

import argparse
from pathlib import Path

from auditor.commands.arguments import Commands, add_json, settings_of

LIST_EXAMPLES = """
auditor findings list
auditor findings list --state confirmed --table public.orders
auditor findings list --since 1h --json
"""


def register(commands: Commands) -> None:
    """Add the group."""
    group = commands.group("findings", "what was found, and what became of it")
    listed = group.add("list", _list, "list findings", LIST_EXAMPLES)
    states = ("suspect", "confirmed", "healed", "accepted")
    listed.add_argument("--state", choices=states, help="only those in this state")
    listed.add_argument("--table", metavar="SCHEMA.TABLE", help="only those of this table")
    listed.add_argument(
        "--since", metavar="TIME", help="only those first seen since: 30m, 12h, 7d or 2030-01-31T12:00:00Z"
    )
    show = group.add("show", _show, "show one finding in full", "auditor findings show f_0123456789abcdef")
    for command in (listed, show):
        command.add_argument(
            "--show-keys", action="store_true", help="keys in clear, where the configuration allows it"
        )
    recheck = group.add("recheck", _recheck, "read the rows again", "auditor findings recheck f_0123456789abcdef")
    accept = group.add(
        "accept",
        _accept,
        "take responsibility for a difference",
        'auditor findings accept f_0123456789abcdef --owner ann --reason "test row" --until 7d',
    )
    accept.add_argument("--owner", help="who takes it (default: you)")
    accept.add_argument("--reason", required=True, help="why it may stay")
    accept.add_argument("--until", metavar="TIME", help="when the acceptance ends: 7d or 2030-01-31")
    for command in (show, recheck, accept):
        command.add_argument("id", metavar="ID")
    for command in (listed, show, recheck, accept):
        add_json(command)
    export = group.add(
        "export", _export, "write a script that copies rows anew, for you to review and run",
        "auditor findings export --sql --output repair.sql",
    )  # fmt: skip
    export.add_argument("--sql", action="store_true", required=True, help="as a script for psql")
    export.add_argument("--table", metavar="SCHEMA.TABLE", help="only findings of this table")
    export.add_argument("--output", type=Path, metavar="FILE", help="write it there (default: stdout)")


def _list(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings import list_command

    return int(list_command(settings, args))


def _show(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings import show_command

    return int(show_command(settings, args))


def _recheck(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings import recheck_command

    return int(recheck_command(settings, args))


def _export(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings_export import export_command

    return int(export_command(settings, args))


def _accept(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.findings import accept_command

    return int(accept_command(settings, args))
