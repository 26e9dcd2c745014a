"""`auditor diff`: compare two databases once."""

import argparse
from pathlib import Path

from auditor.commands.arguments import Commands, add_json, count, seconds, start_log

EXAMPLES = """
auditor diff "host=10.0.0.1 dbname=app user=auditor" "host=10.0.0.2 dbname=app user=auditor"
auditor diff env:SOURCE_DSN env:TARGET_DSN --json          passwords do not stand on the command line
auditor diff env:SOURCE_DSN env:TARGET_DSN --table public.orders --table 'billing.*'
auditor diff env:SOURCE_DSN env:TARGET_DSN --subscription app_sub
auditor diff env:SOURCE_DSN env:TARGET_DSN --settle 30     no subscription, and writers go on
"""
LISTED = 100


def register(commands: Commands) -> None:
    """Add the command."""
    diff = commands.add(
        "diff",
        _diff,
        "compare two databases row by row, once: exit 0 only if every table was read whole and is equal, 1 different,"
        " 3 not known; needs no configuration, slot or Kafka",
        EXAMPLES,
    )
    where = "connection string (key=value or postgresql://), or env:NAME or file:PATH that holds it"
    diff.add_argument("source", metavar="SOURCE_DSN", help=where)
    diff.add_argument("target", metavar="TARGET_DSN", help="the same of the target")
    diff.add_argument(
        "--table", action="append", default=[], metavar="T", help="schema.table, * is a wildcard; repeatable"
    )
    diff.add_argument(
        "--subscription", metavar="S", help="whose progress to wait for (default: those that read from the source)"
    )
    diff.add_argument(
        "--settle", type=seconds, default=5.0, metavar="SECONDS",
        help="read rows that differ again until they stand still, for at most so long (default: 5 s)",
    )  # fmt: skip
    diff.add_argument(
        "--wait", type=seconds, default=600.0, metavar="SECONDS",
        help="how long the target may take to apply what the source has written (default: 10m)",
    )  # fmt: skip
    diff.add_argument("--mapping", type=Path, metavar="FILE", help="how tables differ by design")
    diff.add_argument(
        "--limit", type=count, default=LISTED, metavar="N",
        help=f"name at most N differing rows of each table (default: {LISTED}); the counts are exact",
    )  # fmt: skip
    diff.add_argument("--show-keys", action="store_true", help="name rows by their keys, not only by keyed hashes")
    add_json(diff)


def _diff(args: argparse.Namespace) -> int:
    start_log(args, "diff")
    from auditor.diff_command import diff_command

    return diff_command(args)
