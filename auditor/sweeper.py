"""The row audit's process, put together: the sweeper on the servers of a migration, and what runs beside it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from auditor.canary import Canary
from auditor.records import open_records
from auditor.settings import Settings
from auditor.sweep_engine import session_name
from auditor.sweep_servers import ServerEngine
from auditor.sweeping import Sweeper, Wanted
from auditor.threads import Threads, stop_on_signal
from samplers.load import LoadWatch


@contextmanager
def sweeping(settings: Settings, wanted: Wanted | None = None) -> Iterator[tuple[Sweeper, Threads]]:
    """Put a sweeper on the servers of a migration, with the thread that watches the source's load.

    Raises:
        NeedsOperator: no baseline is recorded, or a thread ended with what a person must change.
    """
    threads = Threads(stop_on_signal())
    watch = LoadWatch(
        settings.source.conninfo(), application_name=f"auditor load {settings.migration}",
        sweeping=session_name(settings.migration),
    )  # fmt: skip
    with closing(open_records(settings)) as records:
        engine = ServerEngine(settings)
        sweeper = Sweeper(settings, records, engine, lambda: watch.load, wanted)
        try:
            threads.start("load-watch", watch.run)
            yield sweeper, threads
        finally:
            threads.stop.set()
            engine.cancel()
            threads.join()
    if (failure := sweeper.failure or threads.failure) is not None:
        raise failure


def run_sweeper(settings: Settings) -> int:
    """Run the sweeper of a migration until SIGTERM.

    Returns:
        The exit status.
    """
    if settings.transport is not None:
        from auditor.topics import ensure_topics  # 20 MB, which who has no broker need not pay

        ensure_topics(settings)
    with closing(open_records(settings)) as records, sweeping(settings) as (sweeper, threads):
        threads.start("canary", Canary(settings, records).run)
        sweeper.run(threads)
    return 0
