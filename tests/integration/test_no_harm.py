"""The audit never stands in the way of the servers that it watches."""

import os
import signal
from typing import Any

import pytest

from tests.audits import Audit
from tests.helpers import Pair, wait_for


@pytest.mark.timeout(180)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_shuts_down_while_the_audit_waits_for_the_other_side(
    private_pair: Pair, tmp_path: Any, side: str
) -> None:
    pair = private_pair
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 100) i")
    pair.replicate()
    with Audit(pair, tmp_path) as audit:
        pair.source.execute("UPDATE t SET v = 'b'")
        audit.wait_verdict("PASS")
        blocker = pair.target.connect(autocommit=False)
        blocker.execute("LOCK TABLE t")
        pair.source.execute("UPDATE t SET v = 'c'")
        position = pair.source.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        wait_for(lambda: audit.records()["sampler/source"]["position"] >= position, 20, "the source to be read")
        pair.target.execute("SELECT pg_logical_emit_message(false, 'x', 'y', true)")
        server = getattr(pair, side).server
        if side == "source":
            # the user's own stream waits for its flush; the worker hangs in its lock and does not come back
            own = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s"
            pair.source.execute(own, pair.subscription)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGINT)
        wait_for(lambda: not server.running, 20, f"the {side} to shut down")
        blocker.close()
        assert [] == audit.findings()
