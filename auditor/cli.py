"""The command line: find the command, call it, and turn every error into one line and an exit code.

Modules that cost time to import are imported inside the commands, so that `auditor --help` answers at once.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum

from auditor.commands import (
    config,
    cutover,
    demo,
    diff,
    evidence,
    findings,
    gate,
    objects,
    preflight,
    processes,
    status,
    sweep,
)
from auditor.commands.arguments import Commands
from comparators.errors import AuditorError, Defect, NeedsOperator, Retryable, SettingInvalid

GROUPS = (demo, diff, config, preflight, objects, processes, sweep, gate, cutover, status, findings, evidence)

EPILOG = """examples:
  auditor demo --seconds 30                  see it work on two servers of its own
  auditor config example > auditor.yaml      start a configuration
  auditor prepare && auditor run             audit your own pair
  auditor gate check --wait --timeout 60     may we cut over?

exit codes: 0 proved good, 1 proved bad, 2 usage or configuration, 3 not known, 4 a person is needed
"""


class Exit(IntEnum):
    """What a script may rely on; 0 is never given on doubt."""

    GOOD = 0
    BAD = 1
    USAGE = 2
    UNKNOWN = 3
    PERSON = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit itself would fail once more
        return Exit.UNKNOWN
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return Exit.UNKNOWN
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(_sentence(error), file=sys.stderr)
        return exit_code(error)
    return code


def exit_code(error: BaseException) -> Exit:
    """Give the exit code that says what the caller should do next."""
    if isinstance(error, SettingInvalid):
        return Exit.USAGE
    return Exit.PERSON if isinstance(error, NeedsOperator) else Exit.UNKNOWN


def build_parser() -> argparse.ArgumentParser:
    """Build the whole command line."""
    parser = argparse.ArgumentParser(
        prog="auditor",
        description="Prove, continuously, that a migration's target holds what its source holds, and gate the cutover.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = Commands(parser)
    for group in GROUPS:
        group.register(commands)
    return parser


def _run(words: list[str]) -> int:
    parser = build_parser()
    args = parser.parse_args(words)
    if not hasattr(args, "run"):
        parser.print_help(sys.stderr)
        return Exit.USAGE
    if getattr(args, "no_color", False):
        os.environ["NO_COLOR"] = "1"  # what every library that colours looks at
    return int(args.run(args))


def _sentence(error: Exception) -> str:
    """Say what, why and what to do, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, NeedsOperator):
        return f"error: {text}; hint: {error.hint}"
    if isinstance(error, Retryable):
        return f"error: {text}; hint: try again; nothing is known until it works"
    if isinstance(error, AuditorError) and not isinstance(error, Defect):
        return f"error: {text}"
    return f"error: {type(error).__name__}: {text}; hint: this should not happen: run it with --debug and report it"
