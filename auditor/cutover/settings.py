"""The configuration's section `cutover` as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auditor.cutover import schema
from auditor.secret_ref import SecretRef
from auditor.side_settings import SideSettings, secret_at, side_at
from comparators.positions import Side

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PgBouncerSettings:
    """A PgBouncer."""

    name: str
    admin: SideSettings
    config: Path
    databases: tuple[str, ...]
    places: Mapping[Side, str] = field(hash=False)
    probe: SideSettings
    ask_places: bool = schema.ASK_PLACES
    """The places are asked from this host who they are, before anything is held."""


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """A fleet of Envoys, and the control plane that they ask."""

    name: str
    listen: str
    nodes: tuple[str, ...]
    cluster: str
    places: Mapping[Side, str] = field(hash=False)
    probes: tuple[SideSettings, ...]
    reads_cluster: str | None = None
    standby: str | None = None
    """Where another process answers while a stopped one still holds `listen`."""
    reached_at: str | None = None
    """This machine as the Envoys reach it, where `listen` is every address."""
    ask_places: bool = schema.ASK_PLACES


@dataclass(frozen=True, slots=True)
class ExecSettings:
    """A proxy that programs of the user's lead."""

    name: str
    hold: Command
    release: Command
    route: Command
    observe: Command
    probe: SideSettings
    places: Mapping[Side, str] = field(default_factory=dict, hash=False)
    """None: nobody but the proxy knows where it will lead."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A proxy that an HTTP service of the user's leads."""

    name: str
    url: str
    probe: SideSettings
    token: SecretRef | None = None
    places: Mapping[Side, str] = field(default_factory=dict, hash=False)


ProxySettings = PgBouncerSettings | EnvoySettings | ExecSettings | WebhookSettings


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """A reader of a change slot."""

    slot: str
    role: str
    pause: Command
    resume: Command
    plugin: str = "pgoutput"


@dataclass(frozen=True, slots=True)
class HookSettings:
    """What is called when a phase begins: a program or an address."""

    phase: str
    exec: Command = ()
    url: str | None = None
    token: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class FenceSettings:
    """Whom the fence keeps out."""

    keep: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    """None: every role that can log in to the database."""


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """Who must agree."""

    needed: int = schema.APPROVALS_NEEDED
    valid_seconds: float = schema.APPROVAL_SECONDS


@dataclass(frozen=True, slots=True)
class Read:
    """One read that is watched."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class SuiteSettings:
    """Reads that are compared before the switch and watched after it."""

    reads: tuple[Read, ...] = ()
    max_p99_ms: float = schema.MAX_P99_MS
    max_error_share: float = schema.MAX_ERROR_SHARE


@dataclass(frozen=True, slots=True)
class CutoverSettings:
    """What a cutover acts through, and its limits."""

    journal: SideSettings
    """The third database; neither side."""
    control: Mapping[Side, SideSettings] = field(hash=False)
    """Roles that act on the sides; the fence spares them."""
    publisher: SideSettings
    """The target, as the source reaches it for the way back."""
    proxies: tuple[ProxySettings, ...]
    hold_budget_ms: float = schema.HOLD_BUDGET_MS
    """The longest that writes may be held."""
    guard_seconds: float = schema.GUARD_SECONDS
    """How long the target is watched after the switch."""
    lease_seconds: float = schema.LEASE_SECONDS
    """How long nobody acts once an orchestrator is not heard of any more."""
    steps: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Deadlines in seconds that differ from a step's own."""
    fence: FenceSettings = FenceSettings()
    consumers: tuple[ConsumerSettings, ...] = ()
    hooks: tuple[HookSettings, ...] = ()
    approvals: ApprovalSettings = ApprovalSettings()
    suite: SuiteSettings = SuiteSettings()

    def check_secrets(self) -> None:
        """Read every secret once.

        Raises:
            SettingInvalid: one cannot be read.
        """
        for server in (self.journal, *self.control.values(), self.publisher, *self._ways_in()):
            server.conninfo()
        tokens = [one.token for one in (*self.proxies, *self.hooks) if isinstance(one, WebhookSettings | HookSettings)]
        for token in tokens:
            if token:
                token.resolve()

    def _ways_in(self) -> tuple[SideSettings, ...]:
        found: list[SideSettings] = []
        for proxy in self.proxies:
            found += proxy.probes if isinstance(proxy, EnvoySettings) else [proxy.probe]
            found += [proxy.admin] if isinstance(proxy, PgBouncerSettings) else []
        return tuple(found)


_PLAIN = ("hold_budget_ms", "guard_seconds", "lease_seconds")


def read_cutover(value: Mapping[str, Any], file: Path, folder: Path) -> CutoverSettings:
    """Read the section, which is known to be valid; relative paths count from `folder`."""
    where = f"{file}: cutover"
    plain = {name: value[name] for name in _PLAIN if name in value}
    return CutoverSettings(
        journal=side_at(value["journal"], f"{where}.journal", folder),
        control=MappingProxyType(
            {side: side_at(value["control"][side], f"{where}.control.{side}", folder) for side in Side}
        ),
        publisher=side_at(value["reverse"]["publisher"], f"{where}.reverse.publisher", folder),
        proxies=tuple(_proxy(one, f"{where}.proxies.{number}", folder) for number, one in enumerate(value["proxies"])),
        steps=MappingProxyType(dict(value.get("steps", {}))),
        fence=_fence(value.get("fence", {})),
        consumers=tuple(ConsumerSettings(**_frozen(one)) for one in value.get("consumers", ())),
        hooks=tuple(_hook(one, f"{where}.hooks.{number}", folder) for number, one in enumerate(value.get("hooks", ()))),
        approvals=ApprovalSettings(**value.get("approvals", {})),
        suite=_suite(value.get("suite", {})),
        **plain,
    )


def _proxy(value: Mapping[str, Any], where: str, folder: Path) -> ProxySettings:
    kind = value["kind"]
    given = _frozen({name: item for name, item in value.items() if name != "kind"})
    if "places" in given:
        given["places"] = MappingProxyType({Side(side): place for side, place in value["places"].items()})
    for name in ("admin", "probe"):
        if name in given:
            given[name] = side_at(value[name], f"{where}.{name}", folder)
    if "probes" in given:
        given["probes"] = tuple(
            side_at(one, f"{where}.probes.{number}", folder) for number, one in enumerate(value["probes"])
        )
    if "config" in given:
        given["config"] = folder / value["config"]
    if kind == "webhook":
        given["token"] = secret_at(value.get("token"), f"{where}.token", folder)
    made: ProxySettings = _KINDS[kind](**given)
    return made


_KINDS: Mapping[str, Any] = {
    "pgbouncer": PgBouncerSettings,
    "envoy": EnvoySettings,
    "exec": ExecSettings,
    "webhook": WebhookSettings,
}


def _frozen(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}


def _fence(value: Mapping[str, Any]) -> FenceSettings:
    return FenceSettings(**_frozen(value))


def _hook(value: Mapping[str, Any], where: str, folder: Path) -> HookSettings:
    return HookSettings(**_frozen(value) | {"token": secret_at(value.get("token"), f"{where}.token", folder)})


def _suite(value: Mapping[str, Any]) -> SuiteSettings:
    reads = tuple(Read(**one) for one in value.get("reads", ()))
    return SuiteSettings(**{**value, "reads": reads})
