"""What a configuration must mean, beyond the shape that its schema gives."""

from collections.abc import Callable, Mapping
from typing import Any

from auditor.cutover.settings_checks import cutover_problems, server_problems
from auditor.quantities import end_of, parse_size
from auditor.schema import SCHEMA
from auditor.settings_file import Problem, schema_problems, shown
from comparators.positions import Side

_MIN_WAL_BUDGET = 1 << 20


def document_problems(document: Mapping[str, Any]) -> list[Problem]:
    """Check shape first, then meaning: a value of the wrong shape has no meaning to check."""
    if found := schema_problems(document, SCHEMA):
        return found
    return [problem for check in _CHECKS for problem in check(document)]


def several(value: str | list[str]) -> tuple[str, ...]:
    """Read a name or a list of names."""
    return (value,) if isinstance(value, str) else tuple(value)


def _check_mode(document: Mapping[str, Any]) -> list[Problem]:
    mode = document["replication"].get("mode", "native")
    return [] if mode == "native" else [Problem("replication.mode", f"{mode} is not built yet", "use native")]


def _check_sides(document: Mapping[str, Any]) -> list[Problem]:
    return [problem for name in Side for problem in server_problems(name, document[name])]


def _check_names(document: Mapping[str, Any]) -> list[Problem]:
    found = []
    for key in ("publication", "subscription"):
        names = several(document["replication"][key])
        twice = {name for name in names if names.count(name) > 1}
        found += [
            Problem(f"replication.{key}", f"{shown(name)} is named twice", "name it once") for name in sorted(twice)
        ]
    return found


def _check_listen(document: Mapping[str, Any]) -> list[Problem]:
    listen = document.get("gate", {}).get("listen")
    if listen is None or 1 <= int(listen.rpartition(":")[2]) <= 65535:
        return []
    return [
        Problem(
            "gate.listen", f"{shown(listen)} has no port between 1 and 65535", "write host:port, as in 127.0.0.1:8432"
        )
    ]


def _check_brokers(document: Mapping[str, Any]) -> list[Problem]:
    transport = document.get("transport", "memory")
    brokers = [] if transport == "memory" else several(transport["kafka"]["bootstrap"])
    ports = [one.strip() for text in brokers for one in text.split(",")]
    wrong = [one for one in ports if not 1 <= int(one.rpartition(":")[2]) <= 65535]
    return [
        Problem("transport.kafka.bootstrap", f"{shown(one)} has no port between 1 and 65535", "write host:port")
        for one in wrong
    ]


def _check_budget(document: Mapping[str, Any]) -> list[Problem]:
    budget = document.get("wal_budget_bytes", 1 << 30)
    try:
        size = parse_size(budget)
    except ValueError as error:
        return [Problem("wal_budget_bytes", str(error), "write bytes, or a size such as 512MiB")]
    if size < _MIN_WAL_BUDGET:
        return [
            Problem(
                "wal_budget_bytes",
                f"{shown(budget)} is less than 1 MiB",
                "a slot in good health holds back more than that; 1GiB is the default",
            )
        ]
    return []


def _check_clients(document: Mapping[str, Any]) -> list[Problem]:
    """Tokens have names of their own; certificates can name clients only where some authority vouches for them."""
    gate = document.get("gate", {})
    names = [token["name"] for token in gate.get("tokens", ())]
    found = [
        Problem("gate.tokens", f"{shown(name)} is there twice", "give each token a name of its own")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    tls = gate.get("tls", {})
    if bool(tls.get("clients")) != ("client_ca" in tls):
        reason = "client_ca and clients make sense only together"
        found.append(Problem("gate.tls", reason, "give both or neither"))
    return found


def _check_overrides(document: Mapping[str, Any]) -> list[Problem]:
    """An override that could never count is a mistake to be told at the start; one that has ended may stay."""
    found = []
    for number, one in enumerate(document.get("gate", {}).get("overrides", ())):
        from orchestrator.conditions import override_problem

        path = f"gate.overrides.{number}"
        if reason := override_problem(one["condition"], one.get("item")):
            found.append(Problem(path, reason, "docs/concepts.md lists what can be overridden"))
        if end_of(one["until"]) is None:
            found.append(Problem(f"{path}.until", f"{shown(one['until'])} is not a day or a time", "as in 2030-01-31"))
    return found


def _check_sizes(document: Mapping[str, Any]) -> list[Problem]:
    probes = document.get("probes", {})
    sizes = {f"probes.disk.{side}": size for side, size in probes.get("disk", {}).items()}
    slots = probes.get("known_slots", {}).items()
    sizes |= {f"probes.known_slots.{name}.retained": one["retained"] for name, one in slots if "retained" in one}
    return [problem for path, size in sizes.items() for problem in _check_size(path, size)]


def _check_size(path: str, size: Any) -> list[Problem]:
    try:
        parse_size(size)
    except ValueError as error:
        return [Problem(path, str(error), "write bytes, or a size such as 512MiB")]
    return []


_CHECKS: tuple[Callable[[Mapping[str, Any]], list[Problem]], ...] = (
    _check_mode,
    _check_sides,
    _check_names,
    _check_listen,
    _check_clients,
    _check_brokers,
    _check_budget,
    _check_overrides,
    _check_sizes,
    cutover_problems,
)
