"""The demo: two embedded servers, a shop under load, faults to inject, and the auditor watching it."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Carry out `auditor demo` and give its exit code."""
    if args.cutover or args.kill_at:
        from auditor.demo.cutover.command import show

        return show(args)
    from auditor.demo.command import demo

    return demo(args)
