"""`auditor demo`: everything on embedded servers."""

import argparse

from auditor.commands.arguments import Commands, add_json, seconds, share, start_log

EXAMPLES = """
auditor demo                                     until Ctrl-C, with a live view
auditor demo --seconds 30 --json                 PASS, as JSON on the last line
auditor demo --seconds 30 --inject changed-column
auditor demo --observability                     Prometheus with the alerts loaded, until Ctrl-C
auditor demo --list-faults
auditor demo --cutover                           a whole cutover, with clients at work
auditor demo --cutover --inject target-lost      one that must abort
auditor demo --cutover --kill-at commit          one whose orchestrator is killed, and started again
"""


def register(commands: Commands) -> None:
    """Add the command."""
    demo = commands.add("demo", _demo, "show everything on two servers of its own", EXAMPLES)
    demo.add_argument(
        "--seconds", type=seconds, metavar="N", help="how long (default: until Ctrl-C, or 30 if no terminal)"
    )
    demo.add_argument("--rate", type=share, metavar="R", help="share of transactions to sample (default: all)")
    demo.add_argument("--inject", metavar="FAULT", help="damage something, and tell whether it was found")
    demo.add_argument("--list-faults", action="store_true", help="list what can be injected")
    demo.add_argument("--kafka", action="store_true", help="carry everything through a real Kafka broker")
    demo.add_argument(
        "--observability", action="store_true", help="let Prometheus and Alertmanager watch, and say where they are"
    )
    demo.add_argument(
        "--cutover", action="store_true", help="carry the migration through its cutover; --inject takes its faults then"
    )
    demo.add_argument("--kill-at", metavar="STEP", help="kill the cutover's orchestrator there, and start it again")
    add_json(demo)


def _demo(args: argparse.Namespace) -> int:
    from auditor import demo

    if not args.list_faults:
        start_log(args, "demo")
    return int(demo.run(args))
