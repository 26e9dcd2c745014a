"""The command `auditor demo --cutover`."""

import argparse
import json
import logging
import sys

from auditor.demo.command import deaf, interruptible
from auditor.demo.cutover.breakpoints import Moment
from auditor.demo.cutover.faults import FAULTS, find
from auditor.demo.cutover.story import KILLABLE, Kill, Order, Story
from auditor.demo.cutover.told import EXIT, Told, document, exit_code, words
from auditor.demo.cutover.world import Plan, World
from comparators.errors import SettingInvalid

MOMENTS = {"before": Moment.BEFORE, "after": Moment.AFTER}


def show(args: argparse.Namespace) -> int:
    """Carry a migration through its cutover on servers of its own; the exit code says how it ended.

    Raises:
        AuditorError: something did not start; nothing is left behind.
        KeyboardInterrupt: it was told to stop; nothing is left behind.
    """
    if args.list_faults:
        return list_faults(args.json)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a server that goes away is what some shows are about
    order = Order(find(args.inject) if args.inject else None, kill_at(args.kill_at) if args.kill_at else None)
    with interruptible():
        told = _told(order)
    line = document(told, order.fault, args.kill_at)
    print(json.dumps(line) if args.json else words(told, order.fault), flush=True)
    return exit_code(told, order.fault)


def kill_at(text: str) -> Kill:
    """Read `STEP`, `STEP:before` or `STEP:after`.

    Raises:
        SettingInvalid: there is no such step or moment.
    """
    step, _, moment = text.partition(":")
    if step not in KILLABLE or moment not in ("", *MOMENTS):
        raise SettingInvalid(
            f"--kill-at: {text!r} is no step of a cutover",
            hint=f"one of {', '.join(KILLABLE)}, with :before or :after behind it for the moment (default: after)",
        )
    return Kill(step, MOMENTS[moment or "after"])


def list_faults(as_json: bool) -> int:
    """Print what can be injected into a cutover."""
    listed = [
        {
            "name": fault.name, "what": fault.what, "step": fault.step, "expected_end": fault.end,
            "expected_exit": EXIT[fault.end],
        }
        for fault in FAULTS.values()
    ]  # fmt: skip
    if as_json:
        print(json.dumps({"faults": listed}))
        return 0
    for fault in listed:
        print(f"{fault['name']:24} {fault['what']}, before {fault['step']}: {fault['expected_end']}")
    return 0


def _told(order: Order) -> Told:
    fault = order.strikes
    with World(Plan(config=fault.config if fault else {}), _say) as world:
        try:
            return Story(world, order, _say).tell()
        finally:
            deaf()


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)
