"""Servers of our own, for the demo and the tests: the one place that starts and stops them.

Nothing here is used against a user's servers.
"""

from auditor.servers.installations import Installation, available_majors, find_postgres
from auditor.servers.kafka import KafkaServer
from auditor.servers.pgbouncer import PgBouncerServer
from auditor.servers.ports import free_port
from auditor.servers.postgres import PostgresServer
from auditor.servers.processes import ServerFailed
from auditor.servers.prometheus import AlertmanagerServer, PrometheusServer

__all__ = [
    "AlertmanagerServer",
    "Installation",
    "KafkaServer",
    "PgBouncerServer",
    "PostgresServer",
    "PrometheusServer",
    "ServerFailed",
    "available_majors",
    "find_postgres",
    "free_port",
]
