"""How commands ask a gate: without proxies and redirects, with a token or certificate, and of a proven server only."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.secret_ref import SecretRef
from auditor.settings import GateSettings, Settings
from comparators.errors import SettingInvalid

LARGEST_ANSWER = 16 << 20
LARGEST_PROBLEM = 1 << 20


class GateUnreachable(Exception):
    """Nothing that answers as a gate does; the text says why."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to a gate, as a command was told; what is `None` was not."""

    url: str | None = None
    token: str | None = None
    """A reference, `env:NAME` or `file:PATH`."""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class GateClient:
    """Asks one gate."""

    def __init__(self, base: str, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.base = base.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        secure = [urllib.request.HTTPSHandler(context=tls)] if tls else []
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect, *secure)

    def request(
        self, method: str, path: str, timeout: float, body: Mapping[str, Any] | None = None
    ) -> tuple[int, str, bytes]:
        """Ask once.

        Returns:
            Status, its words, and the body.
        Raises:
            GateUnreachable: there was no answer.
        """
        url = f"{self.base}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": "application/json"} if data else {})
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with self._opener.open(request, timeout=timeout) as response:
                return response.status, response.reason, response.read(LARGEST_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, str(error.reason), error.read(LARGEST_PROBLEM)
        except (OSError, ValueError) as error:
            raise GateUnreachable(f"{url} cannot be reached: {getattr(error, 'reason', None) or error}") from None
        except Exception as error:  # http.client has errors of its own for answers that are no HTTP
            raise GateUnreachable(f"{url} does not answer as a gate does: {type(error).__name__}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A gate never sends elsewhere; whoever does is not the gate."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def client_of(settings: Settings, way: Way, scope: str = "read") -> GateClient:
    """Find the way to a gate: to this host's own, its own configuration says everything.

    A gate elsewhere gets only the token that it was named with: a URL must not draw a secret out of a configuration.

    Args:
        scope: what the client is going to do there.
    Raises:
        SettingInvalid: the token or a file cannot be read.
    """
    base = way.url or settings.gate.url
    if way.token is not None:
        token: str | None = SecretRef(way.token, "--token").resolve().strip()
    else:
        token = None if way.url else _own_token(settings.gate, scope)
    return GateClient(base, token, _context(settings, way) if base.startswith("https:") else None)


def detail_of(body: bytes) -> str:
    """Take the words out of a problem document; nothing where there are none."""
    try:
        return f": {json.loads(body)['detail']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _own_token(gate: GateSettings, scope: str) -> str | None:
    """Give the first token that has the scope and that this process can read itself."""
    for token in gate.tokens:
        if scope in token.scopes:
            try:
                return token.token.resolve().strip()
            except SettingInvalid:
                continue
    return None


def _context(settings: Settings, way: Way) -> ssl.SSLContext:
    try:
        if way.ca is None and way.url is None and settings.gate.tls:
            context = _pinned(settings.gate.tls.certificate)
        else:
            context = ssl.create_default_context(cafile=way.ca)
        if way.certificate:
            context.load_cert_chain(way.certificate, way.key)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no PEM file as needed"
        raise SettingInvalid(f"TLS to the gate: {reason}", hint="look at --ca, --cert and --key") from None
    return context


def _pinned(certificate: Path) -> ssl.SSLContext:
    """Trust the gate's own certificate and nothing else; then it does not matter under which name it is reached."""
    end = "-----END CERTIFICATE-----"
    own = certificate.read_text(encoding="ascii").partition(end)[0] + end
    context = ssl.create_default_context(cadata=own)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
