"""A real S3 server in a process of its own, and a proxy before it that fails as networks and services do."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import boto3

REGION = "eu-central-1"
ACCOUNT = "123456789012"  # moto's own
ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
Fault = Callable[[str, str], str | None]
"""Takes method and path; gives `403`, `503`, `slow`, `cut`, or `None` to let the request pass."""


class S3Server:
    """`moto_server` on a free port."""

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        give_up = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert time.monotonic() < give_up, "moto_server does not answer"
                assert self._process.poll() is None, "moto_server has ended"
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, **keys)

    def bucket(self, name: str, *, locked: bool = False) -> str:
        where = {"LocationConstraint": REGION}
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked, CreateBucketConfiguration=where)
        return name


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on, unless `fault` says otherwise; `seen` lists them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.fault: Fault = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self.left = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.left.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _pass(self) -> None:
        self.close_connection = True
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "cut":
            self.rfile.read(length // 2)
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(length)
        if fault == "slow":
            self.server.left.wait(60)
        elif fault is not None:
            code = {"403": "AccessDenied", "503": "SlowDown"}[fault]
            self._answer(int(fault), ERROR.format(code=code).encode(), {"Content-Type": "application/xml"})
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        kept = {
            name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "date", "server")
        }
        connection.close()
        self._answer(answer.status, data, kept)

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers | {"Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""
