"""Which Envoys there are, which addresses they lead to, and where they reach the control plane."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from comparators.errors import SettingInvalid
from comparators.positions import Side

HOLD_SECONDS = 15.0
"""A client waits this long at most; longer than the dead man needs to let it go."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a port: Envoy looks no names up for endpoints that it is told."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Read `10.0.0.1:5432` or `[::1]:5432`.

        Args:
            name: the setting that holds it, for people.
        Raises:
            SettingInvalid: it is something else.
        """
        host, colon, port = text.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            if not colon or not 0 < int(port) < 65536:
                raise ValueError
        except ValueError:
            raise SettingInvalid(
                f"{name}: {text!r} is not an IP address and a port",
                hint="write it as 10.0.0.1:5432, or [::1]:5432; Envoy looks no host names up here",
            ) from None
        return cls(str(address), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def next_port(self) -> "Address":
        return Address(self.host, self.port + 1)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The Envoys of one application, as the configuration names them."""

    name: str
    listen: Address
    """Where the Envoys ask; their health checks come to the next port."""
    nodes: tuple[str, ...]
    """Node ids. One without `*`, `?` and `[` must be there and acknowledge; others count while they are connected."""
    cluster: str
    """Where the Envoys' listeners send those who write."""
    places: Mapping[Side, Address] = field(hash=False)
    reads_cluster: str | None = None
    """Where they send those who only read, if apart."""
    standby: Address | None = None
    """Where the dead man answers while a stopped process still holds `listen`."""
    reached_at: str | None = None
    """The address of this machine as the Envoys see it, where `listen` is 0.0.0.0."""
    hold_seconds: float = HOLD_SECONDS

    @classmethod
    def read(
        cls, name: str, listen: str, places: Mapping[Side, str], *, standby: str | None = None, **others: Any
    ) -> Self:
        """Make a fleet of what the configuration says, addresses as text.

        Raises:
            SettingInvalid: one of them is no IP address with a port.
        """
        return cls(
            name=name,
            listen=Address.parse(listen, f"{name}: listen"),
            places={side: Address.parse(place, f"{name}: places.{side}") for side, place in places.items()},
            standby=Address.parse(standby, f"{name}: standby") if standby else None,
            **others,
        )

    @property
    def clusters(self) -> tuple[str, ...]:
        return (self.cluster, self.reads_cluster) if self.reads_cluster else (self.cluster,)

    @property
    def named_nodes(self) -> frozenset[str]:
        """Nodes that must acknowledge whether they are connected or not."""
        return frozenset(node for node in self.nodes if not any(letter in node for letter in "*?["))

    def knows(self, node: str) -> bool:
        """Say whether a node is one of the fleet."""
        return any(fnmatchcase(node, pattern) for pattern in self.nodes)

    def health_seen_by_nodes(self, listen: Address) -> Address:
        """Give the address of the health checks, as the Envoys reach it.

        Raises:
            SettingInvalid: `listen` is every address of the machine, and none is named.
        """
        if self.reached_at:
            return Address.parse(f"{self.reached_at}:{listen.port + 1}", f"{self.name}: reached_at")
        if ipaddress.ip_address(listen.host).is_unspecified:
            raise SettingInvalid(
                f"{self.name}: {listen} does not say where the Envoys reach this machine",
                hint="add reached_at with the machine's address",
            )
        return listen.next_port
