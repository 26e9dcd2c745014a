"""Reader, digest and frame against pg_recvlogical, on the same WAL in one run."""

import time

import psycopg
import xxhash

from auditor.servers import PostgresServer
from benchmarks.report import Report, arguments
from comparators.canonical import TableKey, plan_rows
from comparators.positions import Side, parse_lsn
from comparators.sampling import seed_of
from samplers.pgoutput import Relation
from samplers.replication import ReplicationStream
from samplers.wal import Route, Sampling, WalReader

SETTINGS = {"wal_level": "logical", "fsync": "off", "max_wal_size": "8GB", "shared_buffers": "256MB"}
LOAD = """DO $$ BEGIN
FOR i IN 1..{large} LOOP UPDATE t SET a = a + 1 WHERE id % 2 = i % 2; COMMIT; END LOOP;
FOR i IN 1..{small} LOOP UPDATE t SET a = a + 1 WHERE id = 1 + i % 20000; COMMIT; END LOOP;
END $$"""


class Router:
    def route(self, relation: Relation) -> Route:
        columns = [column.name for column in relation.columns]
        plan = plan_rows("public.t", columns, columns, TableKey(("id",), frozenset(b"IUDT")))
        return Route(plan, 0, xxhash.xxh3_64_intdigest(b"public.t"))


class Discard:
    """Takes frames and counts their bytes."""

    bytes = 0

    def send(self, _partition: int, frame: bytes, _position: int) -> None:
        self.bytes += len(frame)

    def room(self) -> bool:
        return True

    def durable(self) -> int:
        return 0


def load(dsn: str, updates: int, slots: list[str]) -> str:
    """Write the WAL to be read and give the position of its end."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, a int, b text, c numeric(12,2), d timestamptz, e boolean)"
        )
        connection.execute(
            "INSERT INTO t SELECT i, i, md5(i::text), i / 7.0, now(), i % 2 = 0 FROM generate_series(1, 20000) i"
        )
        connection.execute("CREATE PUBLICATION p FOR TABLE t")
        for slot in slots:
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        connection.execute(LOAD.format(large=updates // 10_000, small=updates // 20).encode())
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        connection.execute("CHECKPOINT")
        return str(row[0]) if row else ""


def read(dsn: str, slot: str, rate: float, end: int) -> tuple[float, float, int, int]:
    """Read everything with our reader: seconds, client CPU seconds, changes, bytes of frames."""
    sink = Discard()
    sampling = Sampling(seed_of("benchmark"), rate, 2, ("",), frozenset(), 1, 1)
    started, cpu = time.perf_counter(), time.process_time()
    stream = ReplicationStream(dsn, slot, ("p",), side="source")
    reader = WalReader(
        Side.SOURCE, stream, sampling, Router(), sink, start=0, seal=bytes, watermark=lambda _lane, through: through
    )
    while reader.through < end:
        reader.step(may_read=True)
    taken = time.perf_counter() - started, time.process_time() - cpu, reader.counts.changes, sink.bytes
    stream.close()
    return taken


def peer(server: PostgresServer, slot: str, end: str) -> float:
    """Time pg_recvlogical over the same WAL."""
    started = time.perf_counter()
    server.run_program(
        "pg_recvlogical", "-d", server.dsn(), "--slot", slot, "--start", "-f", "/dev/null", "-o", "proto_version=1",
        "-o", "publication_names=p", "--endpos", end,
    )  # fmt: skip
    return time.perf_counter() - started


def main() -> None:
    args = arguments(__doc__ or "", updates=400_000)
    report = Report("wal")
    slots = ["peer_1", "peer_2", "ours_1", "ours_100"]
    with PostgresServer(16, SETTINGS, "source") as server:
        end = load(server.dsn(), args.updates, slots)
        target = parse_lsn(end)
        first = peer(server, "peer_1", end)
        at_one, cpu_one, _, _ = read(server.dsn(), "ours_1", 0.01, target)
        at_all, cpu_all, changes, size = read(server.dsn(), "ours_100", 1.0, target)
        second = peer(server, "peer_2", end)
    server_seconds = min(first, second)
    report.figures = {
        "pg_recvlogical_s": server_seconds, "one_percent_s": at_one, "one_percent_cpu_s": cpu_one,
        "everything_s": at_all, "everything_cpu_s": cpu_all, "changes": changes, "bytes_per_change": size / changes,
    }  # fmt: skip
    report.ratio("one_percent_vs_pg_recvlogical", server_seconds / at_one, 0.85)
    report.ratio("everything_vs_pg_recvlogical", server_seconds / at_all, 0.5)
    report.show(args.json)


if __name__ == "__main__":
    main()
