"""Who asks, and what they may: bearer tokens and client certificates, to scopes.

Without any of them configured nobody is asked: this host may do everything, others may read (and only where
`gate.allow_remote` lets them in at all). No token is ever logged, nor kept but as its hash.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiohttp import web

from auditor.api.problems import Problem
from auditor.schema import SCOPES
from auditor.settings import GateSettings, TokenSettings
from comparators.errors import SettingInvalid

log = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
ALL = frozenset(SCOPES)
READ = frozenset({"read"})
CHALLENGE = 'Bearer realm="auditor"'
BROWSER = 'Basic realm="auditor: any user name, a token as password", charset="UTF-8"'
"""Browsers cannot send a bearer token by themselves; the password they ask for is one."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; `name` is fit for logs and records."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Token:
    digest: bytes
    caller: Caller


class Access:
    """Tells callers by their token or certificate."""

    def __init__(self, gate: GateSettings | None = None) -> None:
        """Read the tokens and certificates.

        Args:
            gate: `None` asks nobody.
        Raises:
            SettingInvalid: one cannot be read, is too short, or is there twice.
        """
        self._gate = gate = gate or GateSettings()
        self._clients = {name: frozenset(scopes) for name, scopes in (gate.tls.clients if gate.tls else {}).items()}
        self._marks = self._files()
        self._tokens = tuple(_read(token) for token in gate.tokens)
        _check_distinct(self._tokens)
        self.tls = _context(gate) if gate.tls else None

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return bool(self._gate.tokens or self._clients)

    def identify(self, request: web.BaseRequest) -> Caller:
        """Tell who asks.

        Raises:
            Problem: nobody that the gate knows.
        """
        address = address_of(request)
        if not self.asks:
            return Caller(f"address:{address}", ALL if loopback(address) and _local(request) else READ)
        if header := request.headers.get("Authorization"):
            return self._by_token(header, request)
        if self._clients and (names := _names(request)):
            found = next((name for name in names if name in self._clients), None)
            return Caller(f"certificate:{found or names[0]}"[:200], self._clients.get(found or "", frozenset()))
        raise _unknown(request, "this gate wants a token (`Authorization: Bearer ...`) or a client certificate")

    def refresh(self, *, always: bool = False) -> None:
        """Read tokens and the gate's own certificate again if their files changed; a token that is gone ends."""
        marks = self._files()
        if marks == self._marks and not always:
            return
        self._marks = marks
        self._tokens = tuple(self._readable())
        if self.tls and self._gate.tls:
            try:
                _load_own(self.tls, self._gate)
            except SettingInvalid as error:
                log.warning("the gate goes on with its certificate of before: %s", error)
        log.info("the gate read its tokens again: %d of %d", len(self._tokens), len(self._gate.tokens))

    def _readable(self) -> Iterator[_Token]:
        for token in self._gate.tokens:
            try:
                yield _read(token)
            except SettingInvalid as error:
                log.warning("token %s is no longer accepted: %s", token.name, error)

    def _by_token(self, header: str, request: web.BaseRequest) -> Caller:
        presented = hashlib.sha256(_presented(header)).digest()
        known = None
        for token in self._tokens:  # each is compared, so that the time says nothing
            if hmac.compare_digest(token.digest, presented):
                known = token.caller
        if known is None:
            raise _unknown(request, "the gate does not know this token")
        return known

    def _files(self) -> Mapping[Path, tuple[int, ...]]:
        references = [token.token.reference for token in self._gate.tokens]
        paths = [Path(one.removeprefix("file:")) for one in references if one.startswith("file:")]
        paths += [self._gate.tls.certificate, self._gate.tls.key] if self._gate.tls else []
        return {path: _mark(path) for path in paths}


def check_listen(gate: GateSettings, listen: str) -> None:
    """Refuse to answer the network without knowing who asks, or with tokens in clear.

    Raises:
        SettingInvalid: the address is not this host's own, something is missing, and `gate.allow_remote` is not set.
    """
    if loopback(gate.host):
        return
    known = bool(gate.tokens or (gate.tls and gate.tls.clients))
    lacking = [what for what, there in (("tokens or client certificates", known), ("TLS", gate.tls)) if not there]
    if not lacking:
        return
    text = f"gate.listen: {listen} is open to other hosts, and the gate has no {' and no '.join(lacking)}"
    if not gate.allow_remote:
        raise SettingInvalid(
            text,
            hint="listen on 127.0.0.1, give gate.tokens and gate.tls, or set gate.allow_remote: true where the network "
            "itself keeps strangers out",
        )
    log.warning("%s: the network must keep strangers out%s", text, "" if known else "; other hosts may only read")


FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


@lru_cache(maxsize=1024)
def loopback(host: str) -> bool:
    """Say whether an address is this host's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def address_of(request: web.BaseRequest) -> str:
    """Give the address that asks, as the connection has it: no header can change it."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if peer else "unknown"


def _local(request: web.BaseRequest) -> bool:
    """Say whether the request means this host: a page of a rebound DNS name, shown by a browser here, does not.

    Nor does one that a proxy on this host hands on, for whomever: proxies say so, or are told to by their guides.
    """
    if any(name in request.headers for name in FORWARDED):
        return False
    host = request.headers.get("Host", "")
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return loopback(name) and request.headers.get("Sec-Fetch-Site") in (None, "none", "same-origin")


def _presented(header: str) -> bytes:
    """Take the token out of the header; what is none gives one that nobody has."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer":
        return value.strip().encode("utf-8", "surrogateescape")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _unknown(request: web.BaseRequest, detail: str) -> Problem:
    browser = "text/html" in request.headers.get("Accept", "")
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": BROWSER if browser else CHALLENGE})


def _read(token: TokenSettings) -> _Token:
    text = token.token.resolve().strip()
    if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingInvalid(
            f"{token.token.where}: is no token of at least {SHORTEST_TOKEN} printable characters",
            hint="make one with `openssl rand -hex 32`",
        )
    return _Token(hashlib.sha256(text.encode()).digest(), Caller(f"token:{token.name}", frozenset(token.scopes)))


def _check_distinct(tokens: tuple[_Token, ...]) -> None:
    by_digest: dict[bytes, str] = {}
    for token in tokens:
        if other := by_digest.get(token.digest):
            raise SettingInvalid(
                f"gate.tokens: {other} and {token.caller.name} are the same token", hint="give each client its own"
            )
        by_digest[token.digest] = token.caller.name


def _names(request: web.BaseRequest) -> list[str]:
    """List the names of the certificate that the connection proved, the common name first."""
    certificate: Mapping[str, Any] = (request.transport and request.transport.get_extra_info("peercert")) or {}
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return common + [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "URI", "email")]


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _context(gate: GateSettings) -> ssl.SSLContext:
    assert gate.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, gate)
    if gate.tls.client_ca:
        try:
            context.load_verify_locations(gate.tls.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("client_ca", gate.tls.client_ca, error) from None
        context.verify_mode = ssl.CERT_OPTIONAL  # one that is shown must be good; probes of liveness show none
    return context


def _load_own(context: ssl.SSLContext, gate: GateSettings) -> None:
    assert gate.tls is not None
    try:
        context.load_cert_chain(gate.tls.certificate, gate.tls.key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise _unusable("certificate", gate.tls.certificate, error) from None


def _unusable(name: str, path: Path, error: OSError) -> SettingInvalid:
    reason = getattr(error, "reason", None) or error.strerror or "cannot be read"
    return SettingInvalid(f"gate.tls.{name}: {path}: {reason}", hint="give PEM files, the key without a password")
