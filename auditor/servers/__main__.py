"""Self-check: start and stop each server that the demo uses, and print what was found.

`python -m auditor.servers` checks PostgreSQL; with `--kafka` the broker too. Exit status 4: something is missing.
"""

import sys
import time
from collections.abc import Callable

from auditor.servers import KafkaServer, PostgresServer, available_majors
from auditor.servers.processes import ServerFailed
from comparators.errors import NeedsOperator


def main(arguments: list[str]) -> int:
    """Check each server in turn; the first that does not work ends it."""
    checks: list[Callable[[], str]] = [lambda major=major: _postgres(major) for major in available_majors()]  # type: ignore[misc]
    if "--kafka" in arguments:
        checks.append(_kafka)
    try:
        for check in checks:
            started = time.monotonic()
            print(f"{check()} ({time.monotonic() - started:.1f} s)", flush=True)
    except NeedsOperator as missing:
        print(f"{missing}: {missing.hint}", file=sys.stderr)
        return 4
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 4
    return 0


def _postgres(major: int) -> str:
    with PostgresServer(major) as server:
        version = server.run_program("psql", "-XAtc", "SHOW server_version").stdout.strip()
        return f"PostgreSQL {version} starts and stops: {server.installation.bin}"


def _kafka() -> str:
    with KafkaServer() as server:
        return f"Kafka starts and stops: {server.bootstrap}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
