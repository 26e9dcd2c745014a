"""`auditor sweep`, `auditor tables`, `auditor coverage`: the row audit; and its process."""

import argparse

from auditor.commands.arguments import Commands, add_json, settings_of, start_log
from auditor.commands.processes import add_lifeline, run_process

SWEEP_EXAMPLES = """
auditor sweep
auditor sweep --once --table public.orders --json
auditor sweep --max-load active-sessions=20
"""


def register(commands: Commands) -> None:
    """Add the commands."""
    sweep = commands.add("sweep", _sweep, "read every row of both sides and compare, with progress", SWEEP_EXAMPLES)
    sweep.add_argument("--once", action="store_true", help="sweep each table once, then say what came out")
    sweep.add_argument(
        "--table", action="append", metavar="SCHEMA.TABLE", help="only this one; * is a wildcard; may be repeated"
    )
    sweep.add_argument(
        "--max-load",
        action="append",
        metavar="NAME=VALUE",
        help="load of the source above which sweeps wait, also of the sweeper that runs; `none`: as configured",
    )
    tables = commands.add(
        "tables", _tables, "how each table is read by the row audit, and which cannot be", "auditor tables --json"
    )
    coverage = commands.add("coverage", _coverage, "what is proved of each table, how old", "auditor coverage")
    for command in (sweep, tables, coverage):
        add_json(command)
    sweeper = commands.add("sweeper", _sweeper, "run the row audit's process alone", "auditor sweeper -c orders.yaml")
    add_lifeline(sweeper)


def _sweep(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    start_log(args, "sweep")
    from auditor.sweep_command import sweep_command

    return sweep_command(settings, args)


def _tables(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.coverage_shown import tables_command

    return tables_command(settings, as_json=args.json)


def _coverage(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from auditor.coverage_shown import coverage_command

    return coverage_command(settings, as_json=args.json)


def _sweeper(args: argparse.Namespace) -> int:
    from auditor.sweeper import run_sweeper

    return run_process(args, "sweeper", run_sweeper)
