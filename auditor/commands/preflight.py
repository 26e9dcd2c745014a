"""`auditor preflight`: the checklist of both sides."""

import argparse

from auditor.commands.arguments import Commands, add_json, settings_of

EXAMPLES = """
auditor preflight
auditor preflight --group shape
auditor preflight --json > preflight.json
"""


def register(commands: Commands) -> None:
    """Add the command."""
    preflight = commands.add(
        "preflight",
        _preflight,
        "check both sides and say what to do: exit 0 nothing blocks, 1 something blocks, 3 something is not known",
        EXAMPLES,
    )
    preflight.add_argument("--group", metavar="G", help="only this group of checks, as in `shape`")
    add_json(preflight)


def _preflight(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.preflight import preflight_command

    return preflight_command(settings, group=args.group, as_json=args.json)
