"""The whole audit on a real broker: proved under load, damage found, and no death of any part loses or accuses."""

import os
import signal
from pathlib import Path

from auditor.servers import KafkaServer
from tests.helpers import Pair, wait_for
from tests.kafka_audits import KafkaAudit
from tests.traffic import Traffic, assert_all_counted, patients

NAMES = ("sampler-source", "sampler-target", "core", "sweeper", "prober", "gate")


def damage(audit: KafkaAudit) -> None:
    """Change a row on the target behind replication's back, and wait until the gate says so."""
    audit.pair.target.execute("UPDATE clinic.patient SET born = '1999-12-31' WHERE code = 'p7'")
    audit.wait_verdict("FAIL", 30)
    found = {(str(finding.kind), finding.table, finding.count) for finding in audit.findings()}
    assert ("foreign-write", "clinic.patient", 1) in found
    assert found <= {(kind, "clinic.patient", 1) for kind in ("foreign-write", "row-different")}  # a sweep sees it, too


def replace(audit: KafkaAudit, name: str) -> None:
    """Kill -9 one process and wait until its successor has reported."""
    record = audit.records()[f"process/{name}"]
    os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: audit.records()[f"process/{name}"]["incarnation"] != record["incarnation"], 60, f"another {name}")


def test_a_pair_is_proved_through_a_broker_and_damage_is_found(pair: Pair, kafka: KafkaServer, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate()
    with KafkaAudit(pair, tmp_path, kafka) as audit:
        with Traffic(pair) as traffic:
            audit.wait_verdict("PASS", 90)
            traffic.more(200)
        audit.wait_resolved()
        assert [] == audit.findings()
        damage(audit)


def test_no_death_of_a_process_or_of_the_broker_loses_counts_twice_or_accuses(
    pair: Pair, private_kafka: KafkaServer, tmp_path: Path
) -> None:
    patients(pair)
    pair.replicate()
    with KafkaAudit(pair, tmp_path, private_kafka) as audit:
        with Traffic(pair, per_second=40) as traffic:
            audit.wait_verdict("PASS", 90)
            for name in NAMES:
                replace(audit, name)
                traffic.more(40)
            private_kafka.kill()
            traffic.more(100)
            private_kafka.start()
            audit.wait_verdict("PASS", 120)
        assert_all_counted(audit, traffic.committed)
        damage(audit)


def test_each_process_runs_by_itself(pair: Pair, kafka: KafkaServer, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate()
    audit = KafkaAudit(pair, tmp_path, kafka)
    with audit.processes():
        with Traffic(pair):
            audit.wait_verdict("PASS", 90)
        audit.wait_resolved()
        damage(audit)
