"""Settings of migrations that tests make up."""

from pathlib import Path
from typing import Any

from auditor.settings import KafkaSettings, ReplicationSettings, Settings, SideSettings


def memory_settings(folder: Path, migration: str = "shop", **more: Any) -> Settings:
    """Describe a migration whose databases nobody connects to."""
    return Settings(
        migration=migration,
        source=SideSettings("host=nowhere"),
        target=SideSettings("host=nowhere"),
        replication=ReplicationSettings(publications=("p",), subscriptions=("s",)),
        state_dir=folder,
        **more,
    )


def kafka_settings(kafka: Any, folder: Path, migration: str = "shop", partitions: int = 2) -> Settings:
    """Describe the same on a broker."""
    return memory_settings(
        folder, migration, transport=KafkaSettings(bootstrap=(kafka.bootstrap,), partitions=partitions)
    )
