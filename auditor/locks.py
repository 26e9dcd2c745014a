"""One process of each kind per state folder: a file lock, which the kernel drops when its holder dies."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comparators.errors import SettingInvalid

POLL_SECONDS = 0.05


@contextmanager
def held(path: Path, who: str, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock for the length of the block.

    Args:
        who: the process, for the error, as in "`auditor run`".
        wait_seconds: how long a predecessor that is about to end may take.
    Raises:
        SettingInvalid: somebody else holds it.
    """
    # not inheritable: a child that outlived its parent would hold the lock for nobody
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path, who, time.monotonic() + wait_seconds)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, who: str, give_up: float) -> None:
    while not _try_lock(descriptor, path):
        if time.monotonic() >= give_up:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise SettingInvalid(
                f"{who} is running already on {path.parent} (process {pid})",
                hint=f"stop it first (kill {pid}), or give this one a state_dir of its own",
            )
        time.sleep(POLL_SECONDS)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise SettingInvalid(
            f"state_dir: {path.parent} cannot be locked: {error.strerror}", hint="use a local file system"
        ) from None
    return True
