"""What is locked is all that is installed, from wherever the user's pip is told to look."""

import re
import tomllib
from pathlib import Path

import pytest

from auditor.servers import installations

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {extra: (ROOT / f"requirements/{extra}.txt").read_text() for extra in ("demo", "dev")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(extra: str) -> dict[str, str]:
    return {canonical(name): version for name, version in re.findall(r"^(\S+)==(\S+)", LOCKS[extra], re.MULTILINE)}


def direct(*extras: str) -> list[str]:
    optional = [requirement for extra in extras for requirement in PROJECT["optional-dependencies"][extra]]
    names = [re.match(r"[A-Za-z0-9_.-]+", requirement) for requirement in PROJECT["dependencies"] + optional]
    return [canonical(name[0]) for name in names if name]


@pytest.mark.parametrize("extra", LOCKS)
def test_locks_hold_versions_and_hashes_and_no_address(extra):
    lines = [line for line in LOCKS[extra].splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"\S+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines)


@pytest.mark.parametrize(("lock", "extras"), [("demo", ["demo"]), ("dev", ["demo", "dev"])])
def test_every_direct_dependency_is_locked(lock, extras):
    assert set(direct(*extras)) <= set(locked(lock))
    assert "setuptools" in locked(lock)  # auditor itself is built without fetching anything


def test_both_locks_hold_the_same_versions():
    assert locked("demo").items() <= locked("dev").items()


def test_the_wheel_of_servers_is_the_one_that_is_locked():
    assert installations.WHEEL in locked("demo")
