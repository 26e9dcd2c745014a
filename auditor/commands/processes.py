"""`auditor run` and the processes it supervises, each of which also runs alone."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from auditor.commands.arguments import Commands, config_of, seconds, settings_of, start_log
from comparators.errors import SettingInvalid
from comparators.positions import Side

if TYPE_CHECKING:
    from auditor.settings import Settings

PREDECESSOR_SECONDS = 12.0
"""A process whose supervisor was killed ends within ten seconds; its successor waits for it that long."""


def register(commands: Commands) -> None:
    """Add the commands."""
    run = commands.add(
        "run",
        _run,
        "run all processes of a migration in the foreground",
        "auditor run\nauditor run -c orders.yaml --log-format json\nauditor run --for 60s",
    )
    run.add_argument("--for", dest="run_for", type=seconds, metavar="SECONDS", help="stop after this long")
    sampler = commands.add(
        "sampler", _sampler, "run one side's sampler alone (needs Kafka)", "auditor sampler --side source"
    )
    sampler.add_argument("--side", type=Side, choices=list(Side), required=True, metavar="source|target")
    core = commands.add("core", _core, "run the stream core alone (needs Kafka)", "auditor core -c orders.yaml")
    prober = commands.add("prober", _prober, "run the probes' process alone", "auditor prober -c orders.yaml")
    worker = commands.add_internal("worker", _worker, "run samplers and core in one process (memory transport)")
    for internal in (sampler, core, prober, worker):
        add_lifeline(internal)


def add_lifeline(parser: argparse.ArgumentParser) -> None:
    """Add the option by which a supervisor ties a child to its own life."""
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)


def run_process(
    args: argparse.Namespace, name: str, body: Callable[["Settings"], int], *, at_once: bool = False
) -> int:
    """Run one process of the migration: alone of its kind on this state folder, and tied to its supervisor.

    Args:
        body: should be loaded already: once the commit line of a cutover is drawn, a reverse audit is to look at once.
        at_once: do not wait where that line, from which on a reverse audit judges, is not drawn yet.
    """
    from auditor.lifeline import hold
    from auditor.locks import held

    settings = settings_of(args)
    start_log(args, name)
    if args.lifeline is not None:
        hold(args.lifeline)
    lock = settings.open_state_dir() / f"{name}.lock"
    with held(lock, f"`auditor {name}`", PREDECESSOR_SECONDS):
        if settings.reverse_of is not None and not at_once:
            from auditor.commit_line import await_line

            await_line(settings)
        return body(settings)


def _run(args: argparse.Namespace) -> int:
    from auditor.supervisor import supervise

    settings = settings_of(args)
    start_log(args, "run")
    options = ["--log-format", getattr(args, "log_format", "text")]
    options += ["--debug"] if getattr(args, "debug", False) else []
    return supervise(settings, config_of(args), args.run_for, options)


def _sampler(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        _require_kafka(settings, "sampler")
        from auditor.ingest import run_sampler

        return int(run_sampler(settings, args.side))

    return run_process(args, f"sampler-{args.side}", body)


def _core(args: argparse.Namespace) -> int:
    def body(settings: "Settings") -> int:
        _require_kafka(settings, "core")
        from auditor.stream import run_core_process

        return int(run_core_process(settings))

    return run_process(args, "core", body)


def _prober(args: argparse.Namespace) -> int:
    from auditor.prober import run_prober

    return run_process(args, "prober", run_prober)


def _worker(args: argparse.Namespace) -> int:
    from auditor.ingest import run_worker

    return run_process(args, "worker", run_worker)


def _require_kafka(settings: "Settings", command: str) -> None:
    if settings.transport is None:
        raise SettingInvalid(
            f"transport: memory keeps samplers and core in one process, so `auditor {command}` cannot run alone",
            hint="use `auditor run`, or set transport: {kafka: {bootstrap: ...}}",
        )
