"""Where a proxy will lead: each place that is configured must answer as its side, long before anybody is led there.

Rules of this file:
1. It is asked by the role of the proxy's probe, from this host; how the connection is secured, and which name the
   server's certificate must bear, is taken from the control role's connection string, which leads to the same server.
2. A standby, or a clone made of a backup, has the system identifier of what it was made of. A lock that the control
   role takes is seen only on the server that it was taken on.
"""

import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.conninfo import make_conninfo

from comparators.errors import AuditorError, SideUnavailable
from comparators.positions import Side
from orchestrator.adapters.sessions import Session, parsed
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker

PLACE_SECONDS = 5.0
"""How long a place may take to answer."""
_SECURED = frozenset(
    ("sslmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "sslnegotiation", "ssl_min_protocol_version",
     "ssl_max_protocol_version", "gssencmode", "channel_binding", "sslcert", "sslkey", "sslpassword", "sslcertmode")
)  # fmt: skip
_NOT_OF_THE_PLACE = _SECURED | {"host", "hostaddr", "port", "options", "target_session_attrs", "load_balance_hosts"}

Place = Mapping[str, str]
"""`host`, and `port` and `dbname` where they are known."""


class Destinations:
    """Both sides as the control roles reach them, against which places are held."""

    def __init__(self, control: Mapping[Side, str]) -> None:
        """Take the connection strings of the control roles, by side."""
        self._control = control

    def blockers(self, probe: str, places: Mapping[Side, Sequence[Place]]) -> list[Blocker]:
        """Ask every place which server it is; nothing is changed.

        Args:
            probe: connection string whose role may log in on both sides at all times.
        """
        asked = {(side, *sorted(place.items())): place for side, listed in places.items() for place in listed}
        ended = in_parallel({
            str(key): lambda side=key[0], place=place: self._blockers(probe, side, place)  # type: ignore[misc]
            for key, place in asked.items()
        })  # fmt: skip
        ended.raise_first()
        return [blocker for found in ended.answers.values() for blocker in found]

    def _blockers(self, probe: str, side: Side, place: Place) -> list[Blocker]:
        shown = " ".join(f"{key}={value}" for key, value in place.items())
        deadline = Deadline.within(PLACE_SECONDS, f"asking {shown} who answers")
        try:
            control = Session(self._control[side], f"control of the {side}")
            there = Session(self._way_to(side, probe, place), f"place of the {side}", pinned=False)
            with control, there:
                wrong = _compared(control, there, deadline)
        except AuditorError as error:
            reason = f"the {side}'s place {shown} cannot be asked from here: {error}"
            return [Blocker("places", reason, "let this host reach it, and the probe's role log in there")]
        if wrong is None:
            return []
        remedy = f"write in `places` where the {side}'s server is; `control` reaches it"
        return [Blocker("places", f"the {side}'s place {shown} is not the {side}: {wrong}", remedy)]

    def _way_to(self, side: Side, probe: str, place: Place) -> str:
        role = {key: value for key, value in parsed(probe).items() if key not in _NOT_OF_THE_PLACE}
        control = parsed(self._control[side])
        secured = {key: value for key, value in control.items() if key in _SECURED}
        return make_conninfo("", **{**role, **secured, **place, **_certified(control.get("host"), place)})


def _compared(control: Session, there: Session, deadline: Deadline) -> str | None:
    """Say how a place differs from what the control role reaches; `None`: it is that database of that server."""
    ours, found = control.identity(deadline), there.identity(deadline)
    if (ours.system, ours.database) != (found.system, found.database):
        return f"database {found.database} of server {found.system} answers, not {ours.database} of {ours.system}"
    number = secrets.randbits(62)
    with control.transaction(deadline):
        control.execute("SELECT pg_advisory_xact_lock(%s)", [number], deadline=deadline)
        if there.value("SELECT pg_try_advisory_xact_lock(%s)", [number], deadline=deadline):
            return "a standby of it answers, or a copy that was made of it"
    return None


def _certified(name: str | None, place: Place) -> dict[str, Any]:
    """Let a place show the certificate of the control role's server, by whatever name or address the proxy knows it."""
    if not _is_one_name(name) or not _is_one_name(place["host"]):
        return {}
    addresses = _addresses(place["host"])
    return {"host": ",".join([str(name)] * len(addresses)), "hostaddr": ",".join(addresses)}


def _is_one_name(host: str | None) -> bool:
    return bool(host) and "," not in str(host) and not str(host).startswith(("/", "@"))


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SideUnavailable(f"the name {host} is not known here") from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
