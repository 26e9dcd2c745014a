"""The Kafka topics of one migration: made as they must be, or refused if somebody made them otherwise."""

from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from auditor.brokers import MAX_MESSAGE_BYTES, broker_errors, open_admin, require_crc32c
from auditor.settings import Settings
from comparators.errors import NeedsOperator

RETENTION_MS = 7 * 24 * 3600 * 1000
"""A frame is needed until it is resolved: far longer than any outage that an audit survives."""
FOREVER_MS = -1
"""Verdicts are records: only a person removes any."""


class ForeignTopic(NeedsOperator):
    """A topic of our name is not as we would have made it."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """How one topic must be."""

    name: str
    partitions: int
    cleanup: str
    """`delete` after the retention, or `compact` to the newest value of each key."""
    retention_ms: int = RETENTION_MS

    @property
    def configs(self) -> dict[str, str]:
        retention = {"retention.ms": str(self.retention_ms)} if self.cleanup == "delete" else {}
        return {"cleanup.policy": self.cleanup, "max.message.bytes": str(MAX_MESSAGE_BYTES)} | retention


def topic_plans(settings: Settings) -> tuple[TopicPlan, ...]:
    """Say which topics a migration needs."""
    topics = settings.names.topics
    return (
        TopicPlan(topics.changes, settings.partitions, "delete"),
        TopicPlan(topics.records, 1, "compact"),
        TopicPlan(topics.dead_letter, 1, "delete"),
        TopicPlan(topics.verdicts, 1, "delete", FOREVER_MS),
    )


def ensure_topics(settings: Settings) -> None:
    """Make what is missing, wait until the broker knows it, and check what was there.

    Raises:
        ForeignTopic: a topic exists and differs; nothing of it was changed.
        NotInstalled: the checksum package is missing.
        StoreUnavailable: the broker cannot be reached.
    """
    if settings.transport is None:
        return
    require_crc32c()
    plans = topic_plans(settings)
    admin = open_admin(settings.transport)
    try:
        with broker_errors("prepare topics"):
            _create_missing(admin, plans, settings.transport.replication_factor)
            _verify(admin, plans)
    finally:
        admin.close()


def _create_missing(admin: KafkaAdminClient, plans: tuple[TopicPlan, ...], replicas: int) -> None:
    present = set(admin.list_topics())
    missing = {
        plan.name: {"num_partitions": plan.partitions, "replication_factor": replicas, "configs": plan.configs}
        for plan in plans
        if plan.name not in present
    }
    for name, wanted in missing.items():
        try:
            admin.create_topics({name: wanted})
        except TopicAlreadyExistsError:
            continue  # another process of this migration starts at the same time
    admin.wait_for_topics([plan.name for plan in plans])


def _verify(admin: KafkaAdminClient, plans: tuple[TopicPlan, ...]) -> None:
    seen = {topic["name"]: topic for topic in admin.describe_topics([plan.name for plan in plans])}
    resources = [ConfigResource(ConfigResourceType.TOPIC, plan.name) for plan in plans]
    configs = admin.describe_configs(resources, config_filter="all")["topic"]
    for plan in plans:
        values = {name: config["value"] for name, config in configs[plan.name].items()}
        _refuse_foreign(plan, len(seen[plan.name]["partitions"]), values)


def _refuse_foreign(plan: TopicPlan, partitions: int, configs: dict[str, str]) -> None:
    if partitions != plan.partitions:
        raise ForeignTopic(
            f"topic {plan.name} has {partitions} partitions, not {plan.partitions}",
            hint=f"set transport.kafka.partitions to {partitions}, or delete the topic and prepare the audit again",
        )
    if (cleanup := configs["cleanup.policy"]) != plan.cleanup:
        raise ForeignTopic(
            f"topic {plan.name} has cleanup.policy={cleanup}, not {plan.cleanup}",
            hint=f"kafka-configs --alter --topic {plan.name} --add-config cleanup.policy={plan.cleanup}",
        )
    if plan.retention_ms == FOREVER_MS and (kept := configs["retention.ms"]) != str(FOREVER_MS):
        raise ForeignTopic(
            f"topic {plan.name} has retention.ms={kept}: verdicts would be lost",
            hint=f"kafka-configs --alter --topic {plan.name} --add-config retention.ms={FOREVER_MS}",
        )
    if int(size := configs["max.message.bytes"]) < MAX_MESSAGE_BYTES:
        raise ForeignTopic(
            f"topic {plan.name} has max.message.bytes={size}, below {MAX_MESSAGE_BYTES}",
            hint=f"kafka-configs --alter --topic {plan.name} --add-config max.message.bytes={MAX_MESSAGE_BYTES}",
        )
