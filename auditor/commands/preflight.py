"""`auditor preflight`: the checklist of both sides."""

import argparse

from auditor.commands.arguments import Commands, add_json, seconds, settings_of
from comparators.errors import SettingInvalid

EXAMPLES = """
auditor preflight
auditor preflight --group shape
auditor preflight --json > preflight.json
auditor preflight --drain-test 10s --yes
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
    preflight.add_argument(
        "--drain-test", type=seconds, metavar="SECONDS",
        help="hold up apply for so long first, and time how long it takes to catch up; needs --yes",
    )  # fmt: skip
    preflight.add_argument("--yes", action="store_true", help="yes, apply may be held up")
    add_json(preflight)


def _preflight(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.drain_test is not None and not args.yes:
        hint = "add --yes where the target may trail for so long"
        raise SettingInvalid("--drain-test holds up apply, and so the target's readers see old data", hint=hint)
    from auditor.preflight import preflight_command

    return preflight_command(settings, group=args.group, as_json=args.json, drain_seconds=args.drain_test)
