"""A control plane as a process: `python -m tests.envoy_control_plane JSON`; holds and lets go when told to."""

import json
import sys

from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.envoy.fleet import Fleet
from orchestrator.adapters.envoy.proxy import EnvoyProxy
from orchestrator.adapters.envoy.serving import Serving
from tests.envoys import READS, WRITES, soon


def main(told: str) -> None:
    """Serve until killed; answers `ready`, and each word when it is done."""
    given = json.loads(told)
    places = {Side(side): place for side, place in given["places"].items()}
    fleet = Fleet.read(
        "edge", given["listen"], places, nodes=tuple(given["nodes"]), cluster=WRITES, reads_cluster=READS
    )
    writes, reads, held = given["serving"]
    serving = Serving(Side(writes), Side(reads), held)
    with EnvoyProxy(fleet, [], lambda: serving, destinations=Destinations({})) as proxy:
        print("ready", flush=True)
        for word in sys.stdin:
            getattr(proxy, word.strip())(soon())
            print(word.strip(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
