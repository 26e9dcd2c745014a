"""What the commands share: options that stand before or after the command, and values as people write them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.quantities import parse_seconds

if TYPE_CHECKING:
    from auditor.settings import Settings

Run = Callable[[argparse.Namespace], int]


class Commands:
    """The command line under construction: commands, and groups of commands."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        add_common(parser)
        # a metavar keeps internal commands, which have no help, out of the usage line too
        self._commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(self, name: str, run: Run, what: str, examples: str = "") -> argparse.ArgumentParser:
        """Add a command that `--help` lists."""
        return _configured(self._commands.add_parser(name, help=what, **_texts(what, examples)), run)

    def add_internal(self, name: str, run: Run, what: str) -> argparse.ArgumentParser:
        """Add a command that only our own processes use."""
        return _configured(self._commands.add_parser(name, **_texts(what, "")), run)

    def group(self, name: str, what: str) -> "Commands":
        """Add a group, as `gate` is for `gate check`."""
        return Commands(self._commands.add_parser(name, help=what, **_texts(what, "")))


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command; without defaults, so that the inner parser does not undo the outer."""
    common = parser.add_argument_group("common options")
    common.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the migration's configuration (else $AUDITOR_CONFIG, else ./auditor.yaml)",
    )
    for flag, what in (("--debug", "show tracebacks and debug lines"), ("--no-color", "no colours (as NO_COLOR)")):
        common.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=what)
    common.add_argument(
        "--log-format", choices=("text", "json"), default=argparse.SUPPRESS, help="log lines for people or for machines"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def seconds(text: str) -> float:
    """Read a duration for argparse: `30`, `30s`, `5m`."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def share(text: str) -> float:
    """Read a sampling rate for argparse."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return rate


def count(text: str) -> int:
    """Read a whole number for argparse."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 999999999")
    return int(text)


def config_of(args: argparse.Namespace) -> Path | None:
    """Give the file named with `-c`, if any."""
    given: Path | None = getattr(args, "config", None)
    return given


def settings_of(args: argparse.Namespace) -> "Settings":
    """Load the settings of the command's migration."""
    from auditor.settings import load

    return load(config_of(args))


def start_log(args: argparse.Namespace, process: str) -> None:
    """Set up log lines for a command that goes on for long."""
    from auditor.log import configure

    configure(process, getattr(args, "log_format", "text"), debug=getattr(args, "debug", False))


def _texts(what: str, examples: str) -> dict[str, Any]:
    epilog = "examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()) if examples else None
    shown = argparse.RawDescriptionHelpFormatter
    return {
        "description": what[0].upper() + what[1:] + ".",
        "epilog": epilog,
        "formatter_class": shown,
        "allow_abbrev": False,
    }


def _configured(parser: argparse.ArgumentParser, run: Run) -> argparse.ArgumentParser:
    add_common(parser)
    parser.set_defaults(run=run)
    return parser
