"""PostgreSQL 14 and 17, which npm brings: the majors that neither the wheel nor Debian has."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditor.servers import PostgresServer
from auditor.servers.installations import Installation, find_postgres
from auditor.servers.postgres import open_temporary_folder

MODULES = Path(__file__).parent / "node" / "node_modules"
FROM_NPM = (14, 17)


@contextmanager
def installed(major: int) -> Iterator[Installation]:
    """Give the programs of a major version, where an unprivileged account can run them."""
    if major not in FROM_NPM:
        yield find_postgres(major)
        return
    found = MODULES / f"postgres-{major}" / "native"
    assert (found / "bin" / "initdb").exists(), f"PostgreSQL {major} is not in {MODULES}: run scripts/setup-tests"
    with tempfile.TemporaryDirectory(prefix=f"postgres-{major}-", dir=open_temporary_folder()) as folder:
        Path(folder).chmod(0o755)
        programs = Path(folder) / "native"
        shutil.copytree(found, programs, symlinks=True)
        for path in (programs / "bin").iterdir():
            path.chmod(0o755)
        yield Installation(major, programs / "bin")


@contextmanager
def server(major: int, settings: dict[str, str], name: str) -> Iterator[PostgresServer]:
    """Run a server of any major version from 14 to 18."""
    with installed(major) as installation, PostgresServer(major, settings, name, installation=installation) as running:
        yield running
