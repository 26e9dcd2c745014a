"""Topics on a real broker: made once, and refused when they are somebody else's."""

from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.record import util as record_util

from auditor.brokers import MAX_MESSAGE_BYTES, open_admin
from auditor.servers import KafkaServer
from auditor.settings import Settings
from auditor.topics import ForeignTopic, ensure_topics, topic_plans
from comparators.errors import NotInstalled
from tests.helpers import unique_name
from tests.migrations import kafka_settings, memory_settings


@pytest.fixture
def settings(kafka: KafkaServer, tmp_path: Path) -> Settings:
    return kafka_settings(kafka, tmp_path, unique_name("topics").replace("_", "-"), partitions=3)


def test_topics_are_made_as_planned_and_made_again_without_harm(settings: Settings) -> None:
    ensure_topics(settings)
    ensure_topics(settings)

    assert settings.transport is not None
    admin = open_admin(settings.transport)
    names = [plan.name for plan in topic_plans(settings)]
    partitions = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(names)}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    admin.close()
    changes, records, dead_letter, verdicts = names
    assert partitions == {changes: 3, records: 1, dead_letter: 1, verdicts: 1}
    cleanup = {name: config["cleanup.policy"]["value"] for name, config in configs.items()}
    assert cleanup == {changes: "delete", records: "compact", dead_letter: "delete", verdicts: "delete"}
    assert configs[verdicts]["retention.ms"]["value"] == "-1"
    assert configs[changes]["retention.ms"]["value"] == str(7 * 24 * 3600 * 1000)
    assert {config["max.message.bytes"]["value"] for config in configs.values()} == {str(MAX_MESSAGE_BYTES)}


@pytest.mark.parametrize(
    ("which", "change", "told"),
    [
        (0, {"num_partitions": 5}, "5 partitions, not 3"),
        (0, {"cleanup.policy": "compact"}, "cleanup.policy=compact, not delete"),
        (1, {"cleanup.policy": "delete"}, "cleanup.policy=delete, not compact"),
        (0, {"max.message.bytes": "1000"}, "max.message.bytes=1000"),
        (3, {"cleanup.policy": "compact"}, "cleanup.policy=compact, not delete"),
        (3, {"retention.ms": "1000"}, "retention.ms=1000: verdicts would be lost"),
    ],
)
def test_a_topic_of_our_name_that_differs_is_refused(
    settings: Settings, which: int, change: dict[str, str], told: str
) -> None:
    plan = topic_plans(settings)[which]
    partitions = int(change.pop("num_partitions", plan.partitions))
    assert settings.transport is not None
    admin = open_admin(settings.transport)
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": plan.configs | change}
    admin.create_topics({plan.name: wanted}, wait_for_metadata=True)
    admin.close()
    with pytest.raises(ForeignTopic, match=plan.name) as refusal:
        ensure_topics(settings)
    assert told in str(refusal.value)
    assert refusal.value.hint


def test_without_the_checksum_package_nothing_starts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_util, "crc32c_c", None)
    with pytest.raises(NotInstalled, match="crc32c"):
        ensure_topics(settings)


def test_the_memory_transport_needs_no_topics(tmp_path: Path) -> None:
    ensure_topics(memory_settings(tmp_path))
