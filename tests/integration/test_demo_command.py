"""`auditor demo` from outside: the promised JSON and exit code, and nothing left behind, however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from auditor.demo import world
from auditor.demo.faults import FAULTS
from auditor.servers import ServerFailed
from auditor.servers.processes import descendants
from tests.helpers import wait_for

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]


Begin = Callable[..., subprocess.Popen[str]]


def begun(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start the demo with a temporary folder of its own, which must be empty again at the end."""
    folder.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "auditor", "demo", *options]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def gone(pids: list[int]) -> bool:
    """Say whether none of the processes is there any more, but for zombies that nobody has collected."""
    return not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def read_until(stream: IO[str] | None, word: str) -> None:
    assert stream is not None
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"the demo ended before it said {word!r}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder that the servers' own account can pass through."""
    path = Path(tempfile.mkdtemp(prefix="demo-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def begin(folder: Path) -> Iterator[Begin]:
    """Start demos; one that a failing test left behind is ended with the test."""
    with ExitStack() as stack:

        def start(*options: str) -> subprocess.Popen[str]:
            process = stack.enter_context(begun(folder, *options))
            stack.callback(process.kill)
            return process

        yield start


def test_a_clean_run_passes(begin: Begin, folder: Path):
    process = begin("--seconds", "12", "--json")
    out, err = process.communicate(timeout=360)
    assert process.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert said["verdict"] == "PASS"
    assert said["findings"] == []
    assert said["fault"] is None
    assert said["transactions"]["sampled"] == said["transactions"]["matched"] > 300
    assert list(folder.iterdir()) == []


def test_a_fault_is_found_and_fails(begin: Begin, folder: Path):
    process = begin("--seconds", "12", "--inject", "changed-column", "--json")
    out, err = process.communicate(timeout=360)
    assert process.returncode == FAULTS["changed-column"].expected_exit, err
    said = json.loads(out.splitlines()[-1])
    assert said["fault"]["found_as_expected"], said
    assert {"public.products"} == {finding["table"] for finding in said["findings"]}
    (finding,) = [one for one in said["findings"] if one["detector"] == "transaction"]  # a sweep may see it as well
    assert finding["source_position"]
    assert finding["target_position"]
    assert list(folder.iterdir()) == []


def test_a_row_that_was_wrong_before_the_audit_is_found_by_reading_the_table(begin: Begin):
    process = begin("--seconds", "12", "--inject", "untouched-row", "--json")
    out, err = process.communicate(timeout=540)
    assert process.returncode == 1, err
    said = json.loads(out.splitlines()[-1])
    assert said["fault"]["found_as_expected"], said
    (finding,) = said["findings"]
    assert (finding["detector"], finding["kind"], finding["columns"]) == ("row", "row-different", ["percent"])
    assert said["coverage"]["tables"] == 15
    assert said["coverage"]["rows_verified"] > 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_cut_short_leaves_nothing_behind(begin: Begin, folder: Path, number: signal.Signals):
    process = begin("--seconds", "100", "--json")
    read_until(process.stderr, "under load")
    below = descendants(process.pid)
    assert len(below) > 5
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
    assert process.returncode == (3 if number != signal.SIGKILL else -9), err
    wait_for(lambda: gone(below), 30, "every process to be gone")
    wait_for(lambda: list(folder.iterdir()) == [], 30, "every file to be gone")


def test_a_cutover_whose_show_is_killed_leaves_nothing_behind(begin: Begin, folder: Path):
    process = begin("--cutover", "--json")
    read_until(process.stderr, "ask it yourself")
    below = descendants(process.pid)
    assert len(below) > 10
    process.kill()
    process.communicate(timeout=180)
    wait_for(lambda: gone(below), 30, "every process to be gone")
    wait_for(lambda: list(folder.iterdir()) == [], 30, "every file to be gone")


@pytest.mark.parametrize("step", ["_prepare", "_run", "_configure"])
def test_a_step_that_fails_leaves_nothing_behind(folder: Path, step: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ServerFailed("no")

    monkeypatch.setattr(world.World, step, fail)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    folder.chmod(0o755)
    before = set(descendants(os.getpid()))
    with pytest.raises(ServerFailed), world.World(world.Plan(), lambda text: None):
        raise AssertionError("it must not start")
    assert list(folder.iterdir()) == []
    assert gone([one for one in descendants(os.getpid()) if one not in before])


def test_an_unknown_fault_is_a_usage_error():
    done = subprocess.run(
        [sys.executable, "-m", "auditor", "demo", "--inject", "nonsense"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "nonsense" in done.stderr
