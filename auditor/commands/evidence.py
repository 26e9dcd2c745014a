"""`auditor evidence`: bundles of what was decided and why, and their check; and the process that writes them."""

import argparse
import time
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, add_json, config_of, settings_of
from auditor.commands.processes import add_lifeline, run_process

if TYPE_CHECKING:
    from auditor.settings import Settings

EXPORT_EXAMPLES = """
auditor evidence export --to evidence
auditor evidence export --to s3://acme-evidence/orders --since 7d
"""
VERIFY_EXAMPLES = """
auditor evidence verify evidence
auditor evidence verify s3://acme-evidence/orders --json
"""


def register(commands: Commands) -> None:
    """Add the group, and the process."""
    group = commands.group("evidence", "bundles of what was decided and why, for auditors")
    export = group.add(
        "export", _export, "write one bundle: verdicts, findings, coverage, configuration", EXPORT_EXAMPLES
    )
    export.add_argument("--to", metavar="PLACE", help="a folder or s3://BUCKET/PREFIX (default: evidence.export.to)")
    export.add_argument(
        "--since", metavar="TIME", help="only verdicts since: 30m, 12h, 7d or 2030-01-31T12:00:00Z (default: all)"
    )
    verify = group.add("verify", _verify, "exit 0 whole, 1 tampered with, 3 half-written or away", VERIFY_EXAMPLES)
    verify.add_argument("place", metavar="PLACE", help="a bundle, or a folder or s3://BUCKET/PREFIX of bundles")
    for command in (export, verify):
        command.add_argument("--region", help="of the bucket; another one is refused")
        command.add_argument("--endpoint-url", metavar="URL", help="address of an S3 service other than AWS")
        add_json(command)
    add_lifeline(commands.add_internal("archiver", _archiver, "export evidence again and again"))


def _export(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.evidence_command import chosen, export_command
    from auditor.findings import moment

    since = None if args.since is None else moment(args.since, time.time(), past=True, option="--since")
    return export_command(settings, args.to, chosen(settings, args.region, args.endpoint_url), since, args.json)


def _verify(args: argparse.Namespace) -> int:
    from auditor.evidence_command import chosen, verify_command
    from auditor.settings import config_path

    there = config_of(args) is not None or config_path(None).exists()  # whoever only verifies has no configuration
    settings = settings_of(args) if there else None
    return verify_command(args.place, chosen(settings, args.region, args.endpoint_url), args.json)


def _archiver(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        from auditor.archiver import run_archiver

        return run_archiver(settings)

    return run_process(args, "archiver", body)
