"""The proxies of a configuration, made into parts of a cutover."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack

from auditor.cutover.settings import (
    CutoverSettings,
    EnvoySettings,
    ExecSettings,
    PgBouncerSettings,
    ProxySettings,
    WebhookSettings,
)
from comparators.errors import NotInstalled
from comparators.positions import Side
from orchestrator.adapters.commands import exec_proxy, webhook_proxy
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.pgbouncer import PgBouncer
from orchestrator.adapters.pgbouncer_file import Place, parse_place
from orchestrator.ports import Proxy
from orchestrator.records import Entry

MayAct = Callable[[], bool]
Entries = Callable[[], Sequence[Entry]]


def proxies_of(given: CutoverSettings, entries: Entries, may_act: MayAct, stack: ExitStack) -> list[Proxy]:
    """Make every proxy; what they open is closed with the stack.

    Args:
        entries: reads the journal, which says where a fleet that asks is to lead.
        may_act: whether this process may tell a fleet anything.
    Raises:
        SettingInvalid: a place or a secret cannot be read.
        NotInstalled: a driver needs a package that is not there.
    """
    destinations = Destinations({side: control.conninfo() for side, control in given.control.items()})
    return list(_made(given.proxies, destinations, entries, may_act, stack))


def doors_of(given: CutoverSettings) -> dict[str, list[str]]:
    """Give the ways in through each proxy, one for each of its nodes, by the proxy's name."""
    return {
        one.name: [probe.conninfo() for probe in (one.probes if isinstance(one, EnvoySettings) else (one.probe,))]
        for one in given.proxies
    }


def _made(
    settings: Iterable[ProxySettings], destinations: Destinations, entries: Entries, may_act: MayAct, stack: ExitStack
) -> Iterator[Proxy]:
    for one in settings:
        if isinstance(one, PgBouncerSettings):
            yield _pgbouncer(one, destinations, stack)
        elif isinstance(one, EnvoySettings):
            yield _envoy(one, destinations, entries, may_act, stack)
        elif isinstance(one, ExecSettings):
            yield exec_proxy(
                one.name, hold=one.hold, release=one.release, route=one.route, observe=one.observe,
                probe=one.probe.conninfo(), places=_places(one), destinations=destinations,
            )  # fmt: skip
        else:
            token = one.token.resolve() if one.token else None
            yield webhook_proxy(
                one.name, url=one.url, token=token, probe=one.probe.conninfo(), places=_places(one),
                destinations=destinations,
            )  # fmt: skip


def _places(one: ExecSettings | WebhookSettings) -> dict[Side, Place]:
    return {side: parse_place(words) for side, words in one.places.items()}


def _pgbouncer(one: PgBouncerSettings, destinations: Destinations, stack: ExitStack) -> Proxy:
    made = PgBouncer(
        one.name,
        admin=one.admin.conninfo(),
        config=one.config,
        databases=one.databases,
        places=one.places,
        probe=one.probe.conninfo(),
        destinations=destinations if one.ask_places else None,
    )
    stack.callback(made.close)
    return made


def _envoy(
    one: EnvoySettings, destinations: Destinations, entries: Entries, may_act: MayAct, stack: ExitStack
) -> Proxy:
    try:
        from orchestrator.adapters.envoy.fleet import Fleet
        from orchestrator.adapters.envoy.proxy import EnvoyProxy
        from orchestrator.adapters.envoy.recorded import serving_recorded
    except ImportError as error:
        raise NotInstalled(
            f"cutover.proxies: {one.name} needs {error.name}", hint="pip install 'auditor[envoy]'"
        ) from None
    fleet = Fleet.read(
        one.name,
        one.listen,
        one.places,
        standby=one.standby,
        nodes=one.nodes,
        cluster=one.cluster,
        reads_cluster=one.reads_cluster,
        reached_at=one.reached_at,
    )
    probes = [probe.conninfo() for probe in one.probes]
    made = EnvoyProxy(
        fleet, probes, lambda: serving_recorded(entries()), may_act=may_act,
        destinations=destinations if one.ask_places else None,
    )  # fmt: skip
    stack.callback(made.close)  # it listens once it is needed: the dead man has one too, and must not be in the way
    return made
