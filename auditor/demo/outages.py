"""Troubles without damage to a row: what stalls, restarts, is dropped, or changes its shape."""

import os
import signal
import time
from contextlib import suppress

from auditor.demo.damage import VICTIMS, fresh_number, trigger
from auditor.demo.database import Session, connect, one, run, wait_until
from auditor.demo.schema import SUBSCRIPTION
from auditor.demo.stage import Harm, Server, Stage, insert_lsn

WAL_BUDGET_BYTES = 64 << 20
DOWN_SECONDS = 2.0
"""How long a restarted server is away."""


def unpublished_table(stage: Stage, variant: str) -> Harm:
    """Create a table on both sides, write to it, and forget to publish it."""
    create = "CREATE TABLE gift_cards (code text PRIMARY KEY, amount numeric(10, 2) NOT NULL)"
    with stage.on_target() as target, stage.on_source() as source:
        run(target, create)
        run(source, create, "INSERT INTO gift_cards VALUES ('fault', 50)")
    return Harm(time.time())


def target_stalled(stage: Stage, variant: str) -> Harm:
    """Hold a lock that the apply worker waits for; readers pass."""
    target = connect(stage.target)
    run(target, "BEGIN", "LOCK TABLE orders, products, customers IN EXCLUSIVE MODE")
    return Harm(time.time(), heal=target.close)


def subscription_disabled(stage: Stage, variant: str) -> Harm:
    """Let apply fail once on a subscription that is disabled by its first error."""
    statement, known = VICTIMS["public.orders"]
    body = f"IF {known} THEN RAISE EXCEPTION 'the demo stops apply here'; END IF; RETURN NEW;"
    with stage.on_target() as target, stage.on_source() as source:
        run(target, f"ALTER SUBSCRIPTION {SUBSCRIPTION} SET (disable_on_error = true)")
        with trigger(stage, "public.orders", "BEFORE INSERT ON public.orders FOR EACH ROW", body):
            run(source, statement.format(n=fresh_number()))
            at = time.time()
            enabled = "SELECT subenabled FROM pg_subscription WHERE subname = %s"
            wait_until(lambda: not one(target, enabled, SUBSCRIPTION), "the subscription to be disabled")
    return Harm(at)


def source_slot_dropped(stage: Stage, variant: str) -> Harm:
    """Drop the auditor's slot on the source, as somebody who tidies up would."""
    with stage.on_source() as source:
        wait_until(lambda: _drop(source, stage.source_slot), "the slot to be dropped")
    return Harm(time.time())


def target_restarted(stage: Stage, variant: str) -> Harm:
    """Restart the target."""
    return _restarted(stage.target_server, "fast")


def target_crashed(stage: Stage, variant: str) -> Harm:
    """Take the target down without a shutdown checkpoint: what apply had not flushed is applied again."""
    return _restarted(stage.target_server, "immediate")


def source_restarted(stage: Stage, variant: str) -> Harm:
    """Restart the source under its clients."""
    return _restarted(stage.source_server, "fast")


def sampler_killed(stage: Stage, variant: str) -> Harm:
    """Kill the source's sampler (with the memory transport the core goes with it)."""
    return _killed(stage, "sampler-source")


def core_killed(stage: Stage, variant: str) -> Harm:
    """Kill the stream core (with the memory transport the samplers go with it)."""
    return _killed(stage, "core")


def gate_killed(stage: Stage, variant: str) -> Harm:
    """Kill the gate."""
    return _killed(stage, "gate")


def wal_budget_exceeded(stage: Stage, variant: str) -> Harm:
    """Freeze the source's sampler and write more WAL than its slot may hold back."""
    pid = _pid(stage, "sampler-source")
    os.kill(pid, signal.SIGSTOP)
    at = time.time()
    exists = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s"
    with stage.on_source() as source:

        def dropped() -> bool:
            _fill(source)
            return bool(one(source, exists, stage.source_slot) == 0)

        wait_until(dropped, "the auditor to drop its slot", seconds=120, pause=0.2)
    _wake(pid)
    return Harm(at)


def column_added(stage: Stage, variant: str) -> Harm:
    """Add a column on the target, then on the source, and use it."""
    add = "ALTER TABLE orders ADD COLUMN channel text"
    with stage.on_target() as target, stage.on_source() as source:
        run(target, add)
        run(source, add)
        at, number = time.time(), fresh_number()
        run(source, VICTIMS["public.orders"][0].format(n=number))
        run(source, f"UPDATE orders SET channel = 'app' WHERE id = -{number}")
    return Harm(at)


def column_dropped(stage: Stage, variant: str) -> Harm:
    """Drop a column on the source, and on the target once it has applied everything from before."""
    drop = "ALTER TABLE customers DROP COLUMN fax"
    with stage.on_source() as source:
        run(source, drop)
        at, position = time.time(), insert_lsn(source)
    stage.wait_applied(position)
    with stage.on_target() as target:
        run(target, drop)
    return Harm(at)


def _drop(source: Session, slot: str) -> bool:
    """Try to drop a slot, throwing out whoever reads it."""
    with suppress(source.Error):
        one(source, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", slot)
        one(source, "SELECT pg_drop_replication_slot(%s)", slot)
    return bool(one(source, "SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name = %s", slot))


def _fill(source: Session) -> None:
    """Write WAL that nobody has to apply; the checkpoint lets the user's own slot move past it."""
    one(source, "SELECT pg_logical_emit_message(false, 'demo', repeat('x', 4000000))")
    run(source, "CHECKPOINT")


def _restarted(server: Server | None, mode: str) -> Harm:
    if server is None:
        raise ValueError("this fault needs a server of its own")
    at = time.time()
    server.stop(mode)
    time.sleep(DOWN_SECONDS)
    server.start()
    return Harm(at)


def _killed(stage: Stage, name: str) -> Harm:
    os.kill(_pid(stage, name), signal.SIGKILL)
    return Harm(time.time())


def _pid(stage: Stage, name: str) -> int:
    pid = stage.pid_of(name)
    if pid is None:
        raise ValueError(f"the auditor has no process {name}")
    return pid


def _wake(pid: int) -> None:
    with suppress(ProcessLookupError):  # the supervisor may have replaced it
        os.kill(pid, signal.SIGCONT)
