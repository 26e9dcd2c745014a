"""What changes rows behind the log's back is found by a sweep, and told to be what the other audit cannot explain."""

from pathlib import Path

from tests.audits import Audit
from tests.helpers import Pair, wait_for


def test_a_rewrite_on_the_target_that_leaves_no_trace_in_the_log_is_unexplained(pair: Pair, tmp_path: Path) -> None:
    pair.execute("CREATE TABLE public.t (id int PRIMARY KEY, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 50) i")
    pair.replicate()
    with Audit(pair, tmp_path, sweep={"every_seconds": 1}) as audit:
        pair.source.execute("UPDATE t SET v = 'b' WHERE id <= 10")
        audit.wait_verdict("PASS")
        pair.target.execute("ALTER TABLE t ALTER COLUMN v TYPE text USING CASE id WHEN 7 THEN 'x' ELSE v END")

        def found() -> list[tuple[str, str, int, tuple[str, ...]]]:
            return sorted((f.detector, f.kind, f.count, f.columns) for f in audit.findings() if f.state == "confirmed")

        expected = [("row", "row-different", 1, ("v",)), ("row", "unexplained", 1, ("v",))]
        wait_for(lambda: found() == expected, 60, "the sweep to find it")
        audit.wait_verdict("FAIL")
        swept = audit.records()["coverage/public.t"]["sweep"]
        wait_for(lambda: audit.records()["coverage/public.t"]["sweep"] > swept + 1, 60, "two more sweeps")
        assert found() == expected
        pair.source.execute("UPDATE t SET v = 'c' WHERE id = 7")
        wait_for(lambda: found() == [], 60, "both to heal")
