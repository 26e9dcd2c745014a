"""The demo: two embedded servers, a shop under load, faults to inject, and the auditor watching it."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Carry out `auditor demo` and give its exit code."""
    from auditor.demo.command import demo

    return demo(args)
