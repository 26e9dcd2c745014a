"""`auditor cutover`: plan, approve, start and steer a cutover, and read what its journal tells."""

import argparse
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, add_json, count, seconds, settings_of, start_log
from auditor.commands.processes import add_lifeline

if TYPE_CHECKING:
    from auditor.settings import Settings

PLAN_EXAMPLES = """
auditor cutover plan                               every step, the time foretold, what speaks against it
auditor cutover plan --json
"""
APPROVE_EXAMPLES = """
auditor cutover approve --by "Jo Doe"
auditor cutover approve --by "Jo Doe" --plan sha256:4f2a...   only if the plan is still that one
"""
START_EXAMPLES = """
auditor cutover start                              from the checks to the guard, and on; goes on where one was killed
auditor cutover start --dry-run                    list every action, do none
auditor cutover start --acknowledge 3              after attempt 3 failed and somebody has read why
"""
STATUS_EXAMPLES = """
auditor cutover status
auditor cutover status --watch
"""
REPORT_EXAMPLES = """
auditor cutover report                             the newest attempt, as Markdown
auditor cutover report --attempt 2 --format html > attempt-2.html
auditor cutover report --json
"""
_WISHES = {
    "abort": ("put everything back, if nothing is decided yet", True),
    "rollback": ("go back to the source, without losing a write", True),
    "finalize": ("close the door: remove the way back", False),
    "postpone": ("wait before writes are held, until `unpostpone`", False),
    "unpostpone": ("go on after `postpone`", False),
    "panic": ("put everything back, or stop where it is once it is committed, and call a person", True),
}


def register(commands: Commands) -> None:
    """Add the group, and the dead man's process."""
    group = commands.group("cutover", "switch the applications over on proof, or go back")
    plan = group.add("plan", _plan, "what would be done, for how long writes would be held, what blocks", PLAN_EXAMPLES)
    approve = group.add("approve", _approve, "agree to the plan as it is now, by name", APPROVE_EXAMPLES)
    approve.add_argument("--by", required=True, metavar="NAME", help="who agrees")
    approve.add_argument("--plan", metavar="DIGEST", help="refuse unless the plan has this digest")
    _add_start(group)
    status = group.add("status", _status, "phase, steps, chain of proof, what to do next", STATUS_EXAMPLES)
    status.add_argument("--watch", action="store_true", help="again and again, until it is over or Ctrl-C")
    for name, (what, with_reason) in _WISHES.items():
        _add_wish(group, name, what, with_reason)
    report = group.add("report", _report, "one attempt whole, with its chain of proof", REPORT_EXAMPLES)
    report.add_argument("--attempt", type=count, metavar="N", help="which (default: the newest)")
    report.add_argument(
        "--format", choices=("markdown", "html", "json"), default="markdown", help="(default: markdown)"
    )
    history = group.add(
        "history", _history, "entries of the journal, oldest first", "auditor cutover history --attempt 2"
    )
    history.add_argument("--attempt", type=count, metavar="N", help="only those of one attempt")
    history.add_argument("--limit", type=count, metavar="N", help="only the last N")
    verify = group.add(
        "verify-journal", _verify, "exit 0 whole, 1 tampered with, 3 away", "auditor cutover verify-journal --json"
    )
    steps = group.add("steps", _steps, "every step with its phase and deadline", "auditor cutover steps --json")
    for command in (plan, approve, status, report, history, verify, steps):
        add_json(command)
    _add_dead_man(group)


def _add_start(group: Commands) -> None:
    start = group.add("start", _start, "carry the cutover out, in the foreground", START_EXAMPLES)
    start.add_argument("--dry-run", action="store_true", help="list every action through the same table, do none")
    start.add_argument(
        "--acknowledge", type=count, metavar="N", help="the failed attempt that somebody has looked into"
    )
    start.add_argument("--by", metavar="NAME", help="who starts it (default: this account)")
    start.add_argument("--reason", default="", help="why, for the journal")
    add_lifeline(start)
    add_json(start)


def _add_dead_man(group: Commands) -> None:
    command = group.add_internal("dead-man", _stand, "open the old side if the orchestrator is gone, by winning ABORT")
    command.add_argument("--attempt", type=count, required=True, metavar="N", help="the one it stands by")
    command.add_argument("--direction", choices=("forward", "back"), required=True, help="which side is the old one")


def _add_wish(group: Commands, name: str, what: str, with_reason: bool) -> None:
    example = f'auditor cutover {name} --by "Jo Doe"' + (' --reason "errors in checkout"' if with_reason else "")
    command = group.add(name, _wish, what, example)
    command.set_defaults(wish=name)
    command.add_argument("--by", required=True, metavar="NAME", help="who asks for it")
    command.add_argument("--reason", required=with_reason, default="", help="why")
    if name == "rollback":
        command.add_argument(
            "--unproven", action="store_true", help="also where the reverse audit has not proved the source equal yet"
        )
    command.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="S", help="how long to wait for the answer (default: 60 s)"
    )
    add_json(command)


def _settings(args: argparse.Namespace) -> "Settings":
    from auditor.cutover.opening import require_section

    settings = settings_of(args)
    require_section(settings)
    return settings


def _plan(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.planning import plan_command

    return plan_command(settings, as_json=args.json)


def _approve(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.planning import approve_command

    return approve_command(settings, args.by, args.plan, as_json=args.json)


def _start(args: argparse.Namespace) -> int:
    settings = _settings(args)
    start_log(args, "cutover")
    if args.lifeline is not None:
        from auditor.lifeline import hold

        hold(args.lifeline)
    from auditor.cutover.running import dry_run_command, start_command

    if args.dry_run:
        return dry_run_command(settings, as_json=args.json)
    return start_command(settings, args.by, args.acknowledge, args.reason, as_json=args.json)


def _stand(args: argparse.Namespace) -> int:
    settings = _settings(args)
    start_log(args, "dead-man")
    from auditor.cutover.dead_man import stand_command
    from orchestrator.records import Direction

    return stand_command(settings, args.attempt, Direction(args.direction))


def _status(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.reading import status_command

    return status_command(settings, watch=args.watch, as_json=args.json)


def _wish(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.asking import wish_command

    facts = {"unproven": True} if getattr(args, "unproven", False) else {}
    return wish_command(settings, args.wish, args.by, args.reason, facts, args.timeout, as_json=args.json)


def _report(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.reading import report_command

    return report_command(settings, args.attempt, "json" if args.json else args.format)


def _history(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.reading import history_command

    return history_command(settings, args.attempt, args.limit, as_json=args.json)


def _verify(args: argparse.Namespace) -> int:
    settings = _settings(args)
    from auditor.cutover.reading import verify_command

    return verify_command(settings, as_json=args.json)


def _steps(args: argparse.Namespace) -> int:
    from auditor.cutover.steps import steps_command
    from auditor.settings import config_path

    there = getattr(args, "config", None) is not None or config_path(None).exists()
    return steps_command(settings_of(args) if there else None, as_json=args.json)
