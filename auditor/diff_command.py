"""The command `auditor diff`: its arguments read, its result printed."""

import argparse
import json
import os
import sys

from auditor.bars import bars
from auditor.diff import Request, compare
from auditor.diff_report import NameKey, Report, words
from auditor.dsn import check_dsn
from auditor.mapping_file import load_mapping
from auditor.sealing import Sealer
from auditor.secret_ref import SecretRef
from comparators.errors import AuditorError, SettingInvalid

KEY_BYTES = 32


def diff_command(args: argparse.Namespace) -> int:
    """Compare two databases, print what was found and give the exit code.

    Raises:
        AuditorError: nothing could be compared; with `--json` a document says so too.
    """
    name_key = Sealer(os.urandom(KEY_BYTES)).name  # of this run only: hashes of two runs have nothing in common
    request = request_of(args)
    try:
        with bars(live=sys.stderr.isatty(), colours="NO_COLOR" not in os.environ, who="diff") as show:
            report = compare(request, show)
    except SettingInvalid:
        raise
    except AuditorError as error:
        if args.json:
            _print(Report((), error=str(error)), args, name_key)
        raise
    _print(report, args, name_key)
    return report.code


def request_of(args: argparse.Namespace) -> Request:
    """Read the arguments.

    Raises:
        SettingInvalid: a connection string or the mapping file cannot be read; no text of a string is repeated.
    """
    return Request(
        source=conninfo_of(args.source, "SOURCE_DSN"),
        target=conninfo_of(args.target, "TARGET_DSN"),
        tables=tuple(args.table),
        subscription=args.subscription,
        settle_seconds=args.settle,
        wait_seconds=args.wait,
        rules=load_mapping(args.mapping),
        listed=args.limit,
    )


def conninfo_of(text: str, where: str) -> str:
    """Give a connection string that was written out, or that a reference leads to.

    Raises:
        SettingInvalid: there is none.
    """
    conninfo = SecretRef(text, where).resolve() if text.startswith(("env:", "file:")) else text
    try:
        check_dsn(conninfo)
    except ValueError as error:
        raise SettingInvalid(
            f"{where} {error}", hint="write host=10.0.0.1 dbname=app user=auditor, env:NAME or file:PATH"
        ) from None
    return conninfo


def _print(report: Report, args: argparse.Namespace, name_key: NameKey) -> None:
    document = report.document(name_key, show_keys=args.show_keys)
    print(json.dumps(document) if args.json else words(document), flush=True)
