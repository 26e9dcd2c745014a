"""The command `auditor demo`."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from auditor.demo.faults import FAULTS, Fault, fault_json, find
from auditor.demo.show import Order, perform
from auditor.demo.stage import Harm, Stage
from auditor.demo.summary import Ending, document, exit_code, words
from auditor.demo.view import showing
from auditor.demo.world import Plan, World

SIGNALS = (signal.SIGINT, signal.SIGTERM)
DEFAULT_SECONDS = 30.0


def demo(args: argparse.Namespace) -> int:
    """Show everything on servers of its own; the exit code follows the verdict.

    Raises:
        AuditorError: something did not start; nothing is left behind.
        KeyboardInterrupt: it was told to stop; nothing is left behind.
    """
    if args.list_faults:
        return list_faults(args.json)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a restarted source is no news here
    live = sys.stderr.isatty() and sys.stdout.isatty() and not args.json
    fault, variant = find(args.inject) if args.inject else (None, "")
    seconds = args.seconds if args.seconds or live or args.observability else DEFAULT_SECONDS
    config, early = fault.config if fault else {}, early_damage(fault, variant)
    plan = Plan(args.rate or 1.0, args.kafka, config, args.observability, early)
    with interruptible():
        ending = _shown(plan, Order(seconds, fault, variant), live)
    print(json.dumps(document(ending)) if args.json else words(ending), flush=True)
    return exit_code(ending)


def early_damage(fault: Fault | None, variant: str) -> Callable[[Stage], Harm] | None:
    """Give what a fault does before the auditor is there, if it is of that kind."""
    return (lambda stage: fault.inject(stage, variant)) if fault is not None and fault.early else None


def list_faults(as_json: bool) -> int:
    """Print what can be injected."""
    if as_json:
        print(json.dumps({"faults": [fault_json(fault) for fault in FAULTS.values()]}))
        return 0
    for fault in FAULTS.values():
        found = ", ".join(fault.expected) or "no finding"
        print(f"{fault.name:24} {fault.what}: {found}, {fault.verdict}, exit {fault.expected_exit}")
        if fault.variants:
            print(f"{'':24} as {fault.name}:NAME with NAME one of {', '.join(fault.variants)}")
    return 0


def _shown(plan: Plan, order: Order, live: bool) -> Ending:
    with World(plan, _say) as world:
        try:
            with showing(live=live, colours="NO_COLOR" not in os.environ) as show:
                return perform(world, plan, order, show)
        finally:
            deaf()


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into KeyboardInterrupt, and hear no second one while cleaning up."""
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deaf() -> None:
    """Hear no more signals: what is being removed is removed to the end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    deaf()
    raise KeyboardInterrupt
