"""`auditor status`: one screen on a migration."""

import argparse

from auditor.commands.arguments import Commands, add_json, settings_of


def register(commands: Commands) -> None:
    """Add the command."""
    status = commands.add(
        "status",
        _status,
        "one screen: processes, positions, lag, verdict, what to do next",
        "auditor status\nauditor status --json",
    )
    add_json(status)


def _status(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.status import status_command

    return status_command(settings, as_json=args.json)
