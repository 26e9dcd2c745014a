"""Programs and web services of the user's: told as JSON what to do, by when, and asked what came of it.

Rules of this file:
1. What is said goes to a program's standard input and to a service's body; its plain values also to a program's
   environment, as `AUDITOR_TO=target`.
2. An answer is one JSON object, on a program's last line of standard output or as a service's body. Its `reason` is
   told to people and written into the journal; nothing else that is printed is.
3. Exit code 0 and status 2xx mean done. Everything else, and silence at the deadline, means that it is not done.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from comparators.errors import NeedsOperator, NotInstalled, NotReady
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.parallel import within

LARGEST_ANSWER = 64 << 10
LONGEST_REASON = 300

Document = Mapping[str, Any]


class Caller(Protocol):
    """Something of the user's that can be told to do something."""

    name: str

    def call(self, document: Document, deadline: Deadline) -> Document:
        """Say something, and give the answer; empty where there is none.

        Raises:
            Retryable, NeedsOperator: it was not done, or nobody knows.
        """
        ...


class Program:
    """A program and its arguments, started once for each call; no shell reads it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self.name = Path(self._command[0]).name

    def call(self, document: Document, deadline: Deadline) -> Document:
        """Run it to its end; at the deadline it is killed, with all that it started in its session.

        Raises:
            NotInstalled: there is no such program.
            NotReady: it ended with another exit code than 0.
            DeadlinePassed: it was killed.
        """
        left = deadline.left()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as heard:  # files: nothing can block on them
            said.write(json.dumps(document).encode())
            said.seek(0)
            code = self._run(said, heard, _environment(document), deadline, left)
            heard.seek(max(0, heard.seek(0, os.SEEK_END) - LARGEST_ANSWER))
            answer = _last_object(heard.read())
        if code:
            raise NotReady(f"{self.name} ended with exit code {code}{reason_of(answer)}")
        return answer

    def _run(
        self, said: IO[bytes], heard: IO[bytes], environment: Mapping[str, str], deadline: Deadline, left: float
    ) -> int:
        try:
            process = subprocess.Popen(self._command, stdin=said, stdout=heard, env=environment, start_new_session=True)
        except OSError as error:
            raise NotInstalled(
                f"{self.name} cannot be started: {error.strerror}", hint="name a program that this account may run"
            ) from error
        try:
            return process.wait(left)
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(f"{deadline.doing}: {self.name} did not end in time") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Service:
    """An address that is told by POST, with a bearer token; nobody is followed elsewhere with it."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url, self._token = url, token
        parts = urllib.parse.urlsplit(url)
        self.name = f"{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def call(self, document: Document, deadline: Deadline) -> Document:
        """Post it.

        Raises:
            NotReady: the service refuses for now, or cannot be reached.
            NeedsOperator: it refuses the request itself.
            DeadlinePassed: no answer came in time.
        """
        status, body = within(deadline, lambda: self._post(json.dumps(document).encode(), deadline.left()))
        answer = _last_object(body)
        if 200 <= status < 300:
            return answer
        said = f"{self.name} answered {status}{reason_of(answer)}"
        if status in (401, 403, 404, 405):
            raise NeedsOperator(said, hint="check `url` and `token` against the service")
        raise NotReady(said)

    def _post(self, body: bytes, seconds: float) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            request = urllib.request.Request(self._url, body, headers, method="POST")
            with self._opener.open(request, timeout=seconds) as response:
                return response.status, response.read(LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(LARGEST_ANSWER)
        except Exception as error:  # http.client has errors of its own; their text may repeat the address
            raise NotReady(f"{self.name} cannot be asked: {type(error).__name__}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def reason_of(answer: Document) -> str:
    """Give the reason that an answer names, behind a colon and short enough to be shown."""
    reason = answer.get("reason")
    return f": {' '.join(reason.split())[:LONGEST_REASON]}" if isinstance(reason, str) and reason.strip() else ""


def _environment(document: Document) -> dict[str, str]:
    plain = {name: value for name, value in document.items() if isinstance(value, str | int | float)}
    return {**os.environ, **{f"AUDITOR_{name.upper()}": str(value) for name, value in plain.items()}}


def _last_object(heard: bytes) -> Document:
    """Read the answer; anything else than one JSON object is none."""
    text = heard.decode(errors="replace").strip()
    for candidate in (text, text.splitlines()[-1] if text else ""):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(candidate)
            if isinstance(found, dict):
                return found
    return {}
