"""Faust's aiokafka transport with corrections: fetches wait less, and see `resolving` for the rest."""

import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import errors
from faust.auth import GSSAPICredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import CredentialsT
from yarl import URL

from auditor.settings import KafkaSettings
from auditor.transports.resolving import ResolvingConsumer
from comparators.errors import NotPermitted, StoreUnavailable

FETCH_WAIT_MS = 100
"""How long the broker may hold a fetch: a partition that has room again waits for the fetch under way. Faust: 1500."""

REPEAT_SECONDS = 10.0
"""A broker that is away makes aiokafka write a thousand lines; the same one is written once in this time."""


REFUSALS = (
    errors.AuthenticationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Owns the aiokafka consumer."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # the fetcher reads it at its start
        return consumer


class Consumer(ResolvingConsumer, driver.Consumer):
    """Reads the partitions that the group gives to this process."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class Transport(driver.Transport):
    """Reads and writes Kafka."""

    Consumer = Consumer

    def __init__(self, kafka: KafkaSettings, app: Any) -> None:
        super().__init__([URL(f"kafka://{server}") for server in kafka.bootstrap], app)


def broker_credentials(options: Mapping[str, Any]) -> CredentialsT | None:
    """Say to faust what kafka-python's options say, so that one setting serves both clients."""
    protocol = options.get("security_protocol", "PLAINTEXT")
    context = _ssl_context(options) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return SSLCredentials(context) if context else None
    mechanism = options.get("sasl_mechanism", "PLAIN")
    if mechanism == "GSSAPI":
        return GSSAPICredentials(
            kerberos_service_name=options.get("sasl_kerberos_service_name", "kafka"),
            kerberos_domain_name=options.get("sasl_kerberos_domain_name"),
            ssl_context=context,
            mechanism=mechanism,
        )
    return SASLCredentials(
        username=options.get("sasl_plain_username"),
        password=options.get("sasl_plain_password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _ssl_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_cafile"))
    context.check_hostname = options.get("ssl_check_hostname", True)
    if certificate := options.get("ssl_certfile"):
        context.load_cert_chain(certificate, options.get("ssl_keyfile"), options.get("ssl_password"))
    if crl := options.get("ssl_crlfile"):
        context.load_verify_locations(crl)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if ciphers := options.get("ssl_ciphers"):
        context.set_ciphers(ciphers)
    return context


def sorted_error(error: BaseException) -> BaseException:
    """Turn the driver's error into ours; what is not the driver's stays as it is."""
    if not isinstance(error, errors.KafkaError):
        return error
    text = f"Kafka: {error}"
    if isinstance(error, REFUSALS):
        return NotPermitted(text, hint="give this user the rights on the topics and the group of this migration")
    return StoreUnavailable(text)


class OncePerWhile(logging.Filter):
    """Lets the same message of a logger pass once in a while."""

    def __init__(self, seconds: float = REPEAT_SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._written: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message, now = str(record.msg), time.monotonic()
        if now - self._written.get(message, -self._seconds) < self._seconds:
            return False
        self._written[message] = now
        return True


def limit_client_logs() -> None:
    """Keep the client libraries from flooding the log while a broker is away."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(("aiokafka", "kafka."))]:
        logger = logging.getLogger(name)  # a filter does not reach a logger's children: each needs its own
        if not any(isinstance(one, OncePerWhile) for one in logger.filters):
            logger.addFilter(OncePerWhile())
