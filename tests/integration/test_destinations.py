"""Who answers where a proxy will lead: the side itself, over the same TLS as its control role, and nobody like it."""

import contextlib
import os
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from psycopg.conninfo import make_conninfo

from auditor.servers.installations import server_account
from auditor.servers.postgres import PostgresServer
from comparators.positions import Side
from orchestrator.adapters import destinations
from orchestrator.adapters.destinations import Destinations
from tests.certificates import Authority

CERTIFIED = "db.internal"
"""The only name in the server's certificate."""
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
MAJOR = 16


class Front(socketserver.ThreadingTCPServer):
    """Speaks TLS as a server does, before one that cannot."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.context, self.behind = context, behind

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that do not trust it, or that it does not trust."""


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Front)
        assert self.request.recv(8) == SSL_REQUEST
        self.request.sendall(b"S")
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self.server.behind)) as there,
        ):
            back = threading.Thread(target=_pass_on, args=(there, client), daemon=True)
            back.start()
            _pass_on(client, there)
            back.join()


def _pass_on(come: socket.socket, go: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while said := come.recv(65536):
            go.sendall(said)
    with contextlib.suppress(OSError):
        go.shutdown(socket.SHUT_RDWR)


class Served:
    """A server that speaks TLS, and what its control role's connection string says."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.server = server
        self.ca, self.other_ca = Authority(folder, "ours"), Authority(folder, "other")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.ca.sign(CERTIFIED, x509.DNSName(CERTIFIED)))
        context.load_verify_locations(self.ca.file)
        context.verify_mode = ssl.CERT_OPTIONAL  # a client need show none, but what it shows must be of this authority
        self.front = Front(context, server.port)
        self.port = self.front.server_address[1]
        self.probe = server.dsn()

    def control(self, host: str = CERTIFIED) -> str:
        return make_conninfo(
            self.server.dsn(), host=host, hostaddr="127.0.0.1", port=self.port, sslmode="verify-full",
            sslrootcert=str(self.ca.file),
        )  # fmt: skip

    def reasons(self, host: str, *, port: int | None = None, control: str = "", probe: str = "") -> list[str]:
        place = {"host": host, "port": str(port or self.port), "dbname": "postgres"}
        asked = Destinations({Side.TARGET: control or self.control()})
        return [one.reason for one in asked.blockers(probe or self.probe, {Side.TARGET: [place]})]


def _give(path: Path) -> None:
    """Let the servers' account own a file or a folder and what is in it."""
    account = server_account()
    if account.user is not None:
        for one in [path, *path.rglob("*")]:
            os.chown(one, account.user, account.group)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with PostgresServer(MAJOR, name="original") as server:
        given = Served(tmp_path_factory.mktemp("tls"), server)
        with given.front:
            thread = threading.Thread(target=given.front.serve_forever, daemon=True)
            thread.start()
            yield given
            given.front.shutdown()
            thread.join()


@pytest.fixture(scope="module", params=["clone", "standby"])
def copied(request: pytest.FixtureRequest, served: Served) -> Iterator[PostgresServer]:
    """A server made of the first one's backup: it has its system identifier and its databases."""
    with contextlib.ExitStack() as stack:
        copy = PostgresServer(MAJOR, name=request.param)
        stack.callback(copy.remove)
        follows = ["--write-recovery-conf"] if request.param == "standby" else []
        served.server.run_program("pg_basebackup", "--pgdata", str(copy.data_dir), "--checkpoint=fast", *follows)
        _give(copy.data_dir)
        yield stack.enter_context(copy)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_place_by_an_address_or_another_name_than_its_certificate_has_is_the_side(served: Served, host: str) -> None:
    assert [] == served.reasons(host)


def test_a_name_of_several_addresses_is_asked_at_the_one_that_answers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations, "_addresses", lambda host: ["127.0.0.2", "127.0.0.1"])
    assert [] == served.reasons("localhost")


def test_a_place_must_show_the_certificate_that_the_control_role_demands(served: Served) -> None:
    other = make_conninfo(served.control(), sslrootcert=str(served.other_ca.file))
    (reason,) = served.reasons("localhost", control=other, probe=make_conninfo(served.probe, sslmode="disable"))
    assert "certificate verify failed" in reason
    (reason,) = served.reasons("localhost", control=served.control("elsewhere.internal"))
    assert "does not match host name" in reason


def test_a_certificate_that_the_proxy_asks_of_clients_is_not_shown_to_the_server(served: Served) -> None:
    certificate, key = served.other_ca.sign("for-the-proxy")
    key.chmod(0o600)
    probe = make_conninfo(served.probe, sslcert=str(certificate), sslkey=str(key))
    assert [] == served.reasons("127.0.0.1", probe=probe)


def test_a_name_that_leads_nowhere_is_told(served: Served) -> None:
    (reason,) = served.reasons("nobody.invalid")
    assert "cannot be asked from here" in reason
    assert served.server.password not in reason


def test_a_copy_of_the_side_is_not_the_side(served: Served, copied: PostgresServer) -> None:
    (reason,) = served.reasons("127.0.0.1", port=copied.port, control=served.server.dsn())
    assert "a standby of it answers, or a copy that was made of it" in reason
