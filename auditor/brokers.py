"""kafka-python clients for one cluster, made in one place, and its errors sorted into ours.

Clients have threads: create them after a fork, never before.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaConfigurationError,
    KafkaError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.record import util as record_util

from auditor.settings import KafkaSettings
from comparators.errors import NotInstalled, NotPermitted, SettingInvalid, StoreUnavailable

MAX_MESSAGE_BYTES = 4 << 20
"""Largest frame or record that clients send and our topics take."""

BATCH_BYTES = 512 << 10
"""A batch holds several frames: with the library's 16 KiB each frame would travel alone."""

_CLIENT = {"bootstrap_timeout_ms": 10_000, "reconnect_backoff_max_ms": 1_000}
"""A broker that restarts is found again within a second; one that is away is reported after ten."""


def require_crc32c() -> None:
    """Refuse to go on without the C checksum: the library's own, in Python, takes 200 frames a second at most.

    Raises:
        NotInstalled: the package is missing.
    """
    if record_util.crc32c_c is None:
        raise NotInstalled(
            "the Python package crc32c is not installed: Kafka transport would be sixty times too slow",
            hint="pip install crc32c",
        )


@contextlib.contextmanager
def broker_errors(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours.

    Args:
        doing: what was attempted, for the message, as in "read records".
    """
    try:
        yield
    except (AuthorizationError, SaslAuthenticationFailedError) as error:
        raise NotPermitted(f"cannot {doing}: {error}", hint="give this user the right on the topic") from error
    except (KafkaConfigurationError, UnsupportedSaslMechanismError) as error:
        raise SettingInvalid(f"cannot {doing}: {error}", hint="correct transport.kafka in the configuration") from error
    except KafkaError as error:
        raise StoreUnavailable(f"cannot {doing}: {error or type(error).__name__}") from error


def open_admin(kafka: KafkaSettings) -> KafkaAdminClient:
    """Connect for looking after topics."""
    with broker_errors(f"reach Kafka at {', '.join(kafka.bootstrap)}"):
        return KafkaAdminClient(**_options(kafka))


def open_producer(kafka: KafkaSettings, **options: Any) -> KafkaProducer:
    """Connect for sending: every replica acknowledges, a retry neither repeats nor reorders."""
    with broker_errors(f"reach Kafka at {', '.join(kafka.bootstrap)}"):
        return KafkaProducer(
            **_options(kafka),
            **{
                "acks": "all",
                "enable_idempotence": True,
                "max_request_size": MAX_MESSAGE_BYTES,
                "allow_auto_create_topics": False,
                "metrics_enabled": False,
            }
            | options,
        )


def abandon(producer: KafkaProducer) -> None:
    """Close a producer without waiting for what it has not sent."""
    try:
        producer.close(timeout=0)
    except KafkaError:  # its close() gives up half way when frames are still under way
        producer._sender.force_close()


def open_reader(kafka: KafkaSettings, partition: TopicPartition) -> KafkaConsumer:
    """Connect for reading one partition from its beginning, in no group: nothing is committed."""
    with broker_errors(f"reach Kafka at {', '.join(kafka.bootstrap)}"):
        reader = KafkaConsumer(
            **_options(kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=2 * MAX_MESSAGE_BYTES,
            metrics_enabled=False,
        )
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        return reader


def _options(kafka: KafkaSettings) -> dict[str, Any]:
    return {"bootstrap_servers": list(kafka.bootstrap)} | _CLIENT | kafka.client_options()
