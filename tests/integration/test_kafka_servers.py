"""The broker that Kafka tests and the demo's Kafka mode stand on."""

from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from auditor.servers import KafkaServer, ServerFailed
from auditor.servers.jars import find_program
from auditor.servers.ports import is_free
from comparators.errors import NotInstalled
from tests.helpers import unique_name, wait_for


@pytest.fixture
def admin(private_kafka: KafkaServer):
    client = KafkaAdminClient(bootstrap_servers=private_kafka.bootstrap)
    yield client
    client.close()


def create(admin: KafkaAdminClient, topic: str) -> None:
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    wait_for(lambda: topic in admin.list_topics(), 30, f"the metadata of {topic}")


def produce(server: KafkaServer, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=server.bootstrap, acks="all")
    try:
        producer.send(topic, value, partition=1).get(30)
    finally:
        producer.close()


def consume(server: KafkaServer, topic: str) -> bytes:
    consumer = KafkaConsumer(bootstrap_servers=server.bootstrap, auto_offset_reset="earliest", group_id=None)
    consumer.assign([TopicPartition(topic, 1)])
    try:
        found = wait_for(lambda: consumer.poll(timeout_ms=200), 60, f"a record of {topic}")
    finally:
        consumer.close()
    return next(record.value for records in found.values() for record in records)


def test_topics_and_records_survive_kill_and_restart(private_kafka: KafkaServer, admin: KafkaAdminClient):
    topic = unique_name()
    create(admin, topic)
    produce(private_kafka, topic, b"kept")
    bootstrap = private_kafka.bootstrap
    private_kafka.kill()
    assert not private_kafka.running
    private_kafka.start()
    assert bootstrap == private_kafka.bootstrap
    assert b"kept" == consume(private_kafka, topic)
    private_kafka.restart()
    assert b"kept" == consume(private_kafka, topic)


def test_nothing_is_left_of_a_removed_broker():
    with KafkaServer() as server:
        home, pid, ports = server.home, server.pid, (server.port, server.controller_port)
        assert pid is not None
    assert not home.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert all(map(is_free, ports))


def test_a_broker_that_does_not_start_says_why_and_leaves_nothing():
    server = KafkaServer({"num.network.threads": "0"})
    with pytest.raises(ServerFailed, match=r"num\.network\.threads"), server:
        pytest.fail("it started")
    assert not server.running


@pytest.mark.parametrize(("program", "package"), [("java", "default-jre-headless"), ("mvn", "maven")])
def test_a_missing_program_is_named_with_its_package(monkeypatch, tmp_path, program, package):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match=program) as raised:
        find_program(program)
    assert package in raised.value.hint
