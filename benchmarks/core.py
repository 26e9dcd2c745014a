"""Frames to resolved digests, through the Faust core: on the memory transport, and with --kafka through a real broker.

Both sides' frames are made beforehand and put into the transport at once; the time runs until the core has resolved and
committed the last of them.
"""

import argparse
import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from auditor.core import build_core
from auditor.records import open_records
from auditor.settings import KafkaSettings, ReplicationSettings, Settings, SideSettings
from auditor.stream import run_core
from auditor.transports.memory import MemoryLog
from benchmarks.report import Report
from comparators.builder import LaneBuilder
from comparators.canonical import TableKey, plan_rows
from comparators.positions import Side

FLOOR = 1000
TABLE = "public.t"


def frames(side: Side, partition: int, transactions: int, rows: int, per_frame: int) -> list[bytes]:
    """Make the frames of one lane; both sides draw the same rows."""
    draw = random.Random(partition)
    plan = plan_rows(TABLE, ["id", "v"], ["id", "v"], TableKey(("id",), frozenset(b"IUDT")))
    lane = LaneBuilder(side, 0, partition, generation=1, epoch=1, rate=1.0, start=FLOOR)
    made, through = [], FLOOR
    for number in range(transactions):
        source = FLOOR + 100 * (number + 1)
        own = source - 50 if side is Side.SOURCE else 2 * source
        table = lane.table_number(plan)
        for _ in range(rows):
            lane.add(table, ord("U"), draw.getrandbits(64), draw.getrandbits(64), b"t\0\0\0\x0812345678")
        lane.end(own, source, source)
        through = own + 50
        if len(lane.key) >= per_frame:
            made.append(lane.cut(through, source, 0, bytes))
    made.append(lane.cut(through, FLOOR + 100 * transactions, 0, bytes))
    return made


def mixed(partition: int, args: argparse.Namespace) -> list[tuple[Side, bytes]]:
    """Interleave both sides of a partition, the target some frames behind."""
    per_partition = args.digests // 4 // args.rows
    lanes = [frames(side, partition, per_partition, args.rows, args.per_frame) for side in Side]
    lag = 20
    order: list[tuple[Side, bytes]] = []
    for number in range(len(lanes[0]) + lag):
        if number < len(lanes[0]):
            order.append((Side.SOURCE, lanes[0][number]))
        if 0 <= number - lag < len(lanes[1]):
            order.append((Side.TARGET, lanes[1][number - lag]))
    return order


def migration(folder: Path, transport: KafkaSettings | None) -> Settings:
    side = SideSettings("host=127.0.0.1")
    return Settings(
        "benchmark", side, side, ReplicationSettings("native", ("p",), ("s",)), folder, transport=transport
    )


def baseline() -> dict[str, dict[str, Any]]:
    """Give the records that a core needs before its first frame."""
    scope = [{"table": TABLE, "state": "audited", "subscription": 0, "since": 0, "reason": None}]
    return {
        "baseline": {"floor": FLOOR, "target_start": FLOOR, "generation": 1, "at": 0.0},
        "sampler/target": {"scope": scope, "at": 0.0},
    }


def resolve(settings: Settings, log: MemoryLog | None, transactions: int) -> tuple[float, float]:
    """Run the core until every transaction is counted; seconds of wall and CPU since its first frame."""
    records = open_records(settings)
    records.put(baseline())
    core = build_core(settings, records)
    stop, times = threading.Event(), []
    receive = core.receive

    def first_frame(*frame: Any) -> None:
        if not times:
            times.append((time.perf_counter(), time.process_time()))
        receive(*frame)

    core.receive = first_frame  # type: ignore[method-assign]
    watcher = threading.Thread(target=_watch, args=(settings, transactions, stop, times))
    watcher.start()
    asyncio.run(run_core(settings, core, log, stop))
    watcher.join()
    (wall, cpu), (wall_end, cpu_end) = times[0], times[-1]
    return wall_end - wall, cpu_end - cpu


def _watch(settings: Settings, transactions: int, stop: threading.Event, times: list[tuple[float, float]]) -> None:
    records = open_records(settings)
    counted: dict[str, int] = {}
    deadline = time.monotonic() + 300
    while sum(counted.values()) < transactions and time.monotonic() < deadline:
        for key, value in records.changes().items():
            if key.startswith("progress/") and value:
                counted[key] = value["tallies"]["transactions"]
        time.sleep(0.01)
    times.append((time.perf_counter(), time.process_time()))
    stop.set()


def on_memory(args: argparse.Namespace, report: Report) -> None:
    log = MemoryLog(2, budget_bytes=1 << 40)
    for partition in range(2):
        for side, frame in mixed(partition, args):
            log.append(partition, frame, side)
    transactions = 2 * (args.digests // 4 // args.rows)
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = resolve(migration(Path(folder), None), log, transactions)
    report.figures |= {"memory_s": wall, "memory_cpu_s": cpu}
    report.ratio("memory_million_digests_per_core_second", args.digests / cpu / 1e6, 1.0)


def on_kafka(args: argparse.Namespace, report: Report) -> None:
    from auditor.kafka_sink import KafkaSink
    from auditor.servers import KafkaServer
    from auditor.topics import ensure_topics

    transactions = 2 * (args.digests // 4 // args.rows)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        broker = stack.enter_context(KafkaServer())
        kafka = KafkaSettings(bootstrap=(broker.bootstrap,))
        settings = migration(Path(folder), kafka)
        ensure_topics(settings)
        sink = KafkaSink(kafka, settings.names.topics.changes)
        for partition in range(2):
            for _, frame in mixed(partition, args):
                _until(sink.room)
                sink.send(partition, frame, 1)
        sink.close()
        wall, cpu = resolve(settings, None, transactions)
    report.figures |= {"kafka_s": wall, "kafka_cpu_s": cpu}
    report.ratio("kafka_thousand_digests_per_second", args.digests / wall / 1e3, 250)


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--kafka", action="store_true", help="also through a real broker")
    parser.add_argument("--digests", type=int, default=8_000_000, help="of both sides together")
    parser.add_argument("--rows", type=int, default=10, help="rows of a transaction")
    parser.add_argument("--per-frame", type=int, default=1000, help="rows of a frame")
    args = parser.parse_args()
    report = Report("core", {"digests": float(args.digests), "rows_per_transaction": float(args.rows)})
    on_memory(args, report)
    if args.kafka:
        on_kafka(args, report)
    report.show(args.json)


if __name__ == "__main__":
    main()
