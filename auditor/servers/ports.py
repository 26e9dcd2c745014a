"""Free TCP ports on loopback.

They come from below the range that the kernel gives to outgoing connections: a server that is down for a moment would
otherwise find its port taken by somebody's connection when it comes back.
"""

import random
import socket
import threading

FIRST, PAST_LAST = 17000, 32000

_given: set[int] = set()
_lock = threading.Lock()


def free_port() -> int:
    """Choose a port on 127.0.0.1 that nobody listens on and that this process has not been given before."""
    with _lock:
        for _ in range(1000):
            port = random.randrange(FIRST, PAST_LAST)
            if port not in _given and is_free(port):
                _given.add(port)
                return port
    raise OSError(f"no free port between {FIRST} and {PAST_LAST} on 127.0.0.1")


def free_pair() -> int:
    """Choose a port as `free_port` does whose next one is free as well; give the first."""
    for _ in range(1000):
        port = free_port()
        with _lock:
            if port + 1 < PAST_LAST and port + 1 not in _given and is_free(port + 1):
                _given.add(port + 1)
                return port
    raise OSError(f"no two free ports side by side between {FIRST} and {PAST_LAST} on 127.0.0.1")


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
