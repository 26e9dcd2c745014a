"""What the configuration's section `cutover` must mean, beyond the shape that its schema gives."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from auditor.dsn import check_dsn, has_password
from auditor.settings_file import Problem, shown
from comparators.positions import Side

_SECTION = "cutover"


def cutover_problems(document: Mapping[str, Any]) -> list[Problem]:
    """List what is wrong with a section of the right shape."""
    if (section := document.get(_SECTION)) is None:
        return []
    return [*_servers(section), *_journal(document), *(problem for check in _CHECKS for problem in check(section))]


def server_problems(path: str, server: Mapping[str, Any]) -> list[Problem]:
    """Check how one database is reached: a connection string, and its password in one place only."""
    try:
        check_dsn(server["dsn"])
    except ValueError as error:
        return [
            Problem(f"{path}.dsn", f"(not shown) {error}", "write key=value pairs or postgresql://user@host/database")
        ]
    if "password" in server and has_password(server["dsn"]):
        return [Problem(f"{path}.password", "is given here and in the dsn", "take it out of the dsn")]
    return []


def _servers(section: Mapping[str, Any]) -> Iterator[Problem]:
    listed = {"journal": section["journal"], "reverse.publisher": section["reverse"]["publisher"]}
    listed |= {f"control.{side}": section["control"][side] for side in Side}
    for number, proxy in enumerate(section["proxies"]):
        listed |= {f"proxies.{number}.{name}": proxy[name] for name in ("admin", "probe") if name in proxy}
        listed |= {f"proxies.{number}.probes.{at}": one for at, one in enumerate(proxy.get("probes", ()))}
    for path, server in listed.items():
        yield from server_problems(f"{_SECTION}.{path}", server)


def _journal(document: Mapping[str, Any]) -> Iterator[Problem]:
    """What can be seen without asking: the servers themselves are asked at the start."""
    section = document[_SECTION]
    sides = [document[side]["dsn"] for side in Side] + [section["control"][side]["dsn"] for side in Side]
    if section["journal"]["dsn"] in sides:
        reason = "is one of the two sides: what stands there is not known when that side is away"
        yield Problem(f"{_SECTION}.journal.dsn", reason, "name a database on a third server")
    dsns = [section["control"][side]["dsn"] for side in Side]
    if dsns[0] == dsns[1]:
        yield Problem(f"{_SECTION}.control", "names the same database for both sides", "name the target's for target")


def _proxies(section: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _twice(f"{_SECTION}.proxies", [proxy["name"] for proxy in section["proxies"]], "give each its own name")
    for number, proxy in enumerate(section["proxies"]):
        path = f"{_SECTION}.proxies.{number}"
        places = proxy.get("places")
        if places and places["source"] == places["target"]:
            yield Problem(f"{path}.places", "lead to the same server for both sides", "name the target's for target")
        if places and proxy["kind"] != "envoy":
            yield from _pairs(path, places)
        if proxy["kind"] == "envoy":
            yield from _nodes(path, proxy)


def _pairs(path: str, places: Mapping[str, str]) -> Iterator[Problem]:
    for side, place in places.items():
        try:
            check_dsn(place)
            secret = has_password(place)
        except ValueError:
            yield Problem(
                f"{path}.places.{side}", "(not shown) is no list of key=value", "as in host=10.0.0.1 port=5432"
            )
            continue
        if secret:
            reason = "(not shown) holds a password, and places are shown"
            yield Problem(f"{path}.places.{side}", reason, "let the PgBouncer find it in its auth_file or auth_query")


def _nodes(path: str, proxy: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _twice(f"{path}.nodes", proxy["nodes"], "name each node once")
    if proxy.get("reads_cluster") == proxy["cluster"]:
        yield Problem(f"{path}.reads_cluster", "is the cluster of the writes", "leave it out, or give reads their own")
    if len(proxy["probes"]) < len(proxy["nodes"]):
        reason = f"are {len(proxy['probes'])} for {len(proxy['nodes'])} nodes: no routing is proved by hearsay"
        yield Problem(f"{path}.probes", reason, "give each node a probe")


def _consumers(section: Mapping[str, Any]) -> Iterator[Problem]:
    slots = [consumer["slot"] for consumer in section.get("consumers", ())]
    yield from _twice(f"{_SECTION}.consumers", slots, "name each slot once")


def _fence(section: Mapping[str, Any]) -> Iterator[Problem]:
    fence = section.get("fence", {})
    for role in sorted({*fence.get("keep", ())} & {*(fence.get("roles") or ())}):
        yield Problem(f"{_SECTION}.fence", f"{shown(role)} is both kept and fenced", "name it in one of the two")


def _hooks(section: Mapping[str, Any]) -> Iterator[Problem]:
    for number, hook in enumerate(section.get("hooks", ())):
        if ("exec" in hook) == ("url" in hook):
            yield Problem(f"{_SECTION}.hooks.{number}", "needs either exec or url", "give one of the two")
        elif "token" in hook and "url" not in hook:
            yield Problem(f"{_SECTION}.hooks.{number}.token", "goes with url only", "take it out")


def _suite(section: Mapping[str, Any]) -> Iterator[Problem]:
    names = [read["name"] for read in section.get("suite", {}).get("reads", ())]
    yield from _twice(f"{_SECTION}.suite.reads", names, "give each read its own name")


def _twice(path: str, found: list[str], hint: str) -> Iterator[Problem]:
    for name in sorted({name for name in found if found.count(name) > 1}):
        yield Problem(path, f"{shown(name)} is there twice", hint)


_CHECKS: tuple[Callable[[Mapping[str, Any]], Iterator[Problem]], ...] = (_proxies, _consumers, _fence, _hooks, _suite)
