"""What the supervisor does on the side never holds it up, and goes on through every failure."""

import http.server
import threading
from pathlib import Path

import pytest

from auditor import watchers
from auditor.settings import (
    EvidenceSettings,
    ExportSettings,
    KafkaSettings,
    ProbeSettings,
    ReplicationSettings,
    Settings,
    Side,
    SideSettings,
    SweepSettings,
)
from auditor.supervisor import specs_of
from auditor.watchers import BudgetWatch, ReadyWatch, RecordsWriter
from comparators.errors import SideUnavailable, StoreUnavailable
from tests.helpers import wait_for
from tests.helpers_records import MemoryRecords

DEADLINE = 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("orders", SideSettings("host=a"), SideSettings("host=b"), ReplicationSettings(), tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("READY_SECONDS", "BUDGET_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(watchers, name, 0.01)


def test_the_state_of_each_process_is_recorded_also_after_the_store_was_away(settings):
    store = MemoryRecords()
    store.away = True
    with RecordsWriter(settings, lambda _: store) as writer:
        writer.report("worker", 0, None)
        writer.report("gate", 0, None)
        writer.report("worker", 1, "killed by SIGKILL")
        store.away = False
        wait_for(lambda: len(store.values) == 2, DEADLINE, "both records")
        wait_for(lambda: store.values["supervisor/worker"]["restarts"] == 1, DEADLINE, "the newest")
    assert store.values["supervisor/worker"]["last_exit"] == "killed by SIGKILL"
    assert store.values["supervisor/gate"]["last_exit"] is None


def test_the_last_report_is_recorded_before_the_end(settings):
    store = MemoryRecords()
    with RecordsWriter(settings, lambda _: store) as writer:
        writer.report("worker", 7, None)
    assert store.values["supervisor/worker"]["restarts"] == 7


def test_a_store_that_hangs_holds_nobody_up(settings):
    hanging = threading.Event()

    def opening(_):
        hanging.wait(DEADLINE)
        raise StoreUnavailable("away")

    with RecordsWriter(settings, opening) as writer:
        writer.report("worker", 0, None)
    hanging.set()


@pytest.mark.parametrize("error", [SideUnavailable("away"), RuntimeError("odd")])
def test_the_budget_is_tried_again_after_any_failure_and_the_failure_is_told_once(settings, caplog, error):
    calls = []

    def enforce(got, side):
        calls.append((got, side))
        raise error

    with BudgetWatch(settings, Side.TARGET, enforce):
        wait_for(lambda: len(calls) > 3, DEADLINE, "more attempts")
    assert set(calls) == {(settings, Side.TARGET)}
    assert caplog.text.count("the WAL budget of the target cannot be enforced now") == 1


def test_the_gate_is_ready_once_it_says_so():
    answers = iter([503, 503, 200])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(next(answers) if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with ReadyWatch(f"http://127.0.0.1:{server.server_port}") as ready:
                wait_for(lambda: ready.reached, DEADLINE, "readiness")
        finally:
            server.shutdown()
            thread.join()


def test_a_gate_that_does_not_answer_is_not_ready():
    with ReadyWatch("http://127.0.0.1:1") as ready:
        pass
    assert not ready.reached


def test_memory_needs_four_processes_and_kafka_six_and_one_less_without_sweeps_or_probes(settings, tmp_path):
    def commands(**changes):
        changed = Settings(
            settings.migration, settings.source, settings.target, settings.replication, tmp_path, **changes
        )
        return {spec.name: spec.command[3:] for spec in specs_of(changed, Path("/a.yaml"), ["--debug"])}

    end = ("-c", "/a.yaml", "--debug")
    worker, gate = {"worker": ("worker", *end)}, {"gate": ("gate", "serve", *end)}
    sweeper, prober = {"sweeper": ("sweeper", *end)}, {"prober": ("prober", *end)}
    assert commands() == worker | sweeper | prober | gate
    assert commands(sweep=SweepSettings(enabled=False)) == worker | prober | gate
    assert commands(probes=ProbeSettings(enabled=False)) == worker | sweeper | gate
    evidence = EvidenceSettings(export=ExportSettings("evidence"))
    assert commands(evidence=evidence) == worker | sweeper | prober | {"archiver": ("archiver", *end)} | gate
    assert (
        commands(transport=KafkaSettings(("a:1",)))
        == {
            "sampler-source": ("sampler", "--side", "source", *end),
            "sampler-target": ("sampler", "--side", "target", *end),
            "core": ("core", *end),
        }
        | sweeper
        | prober
        | gate
    )
