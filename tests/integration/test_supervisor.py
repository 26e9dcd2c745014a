"""The supervisor keeps its processes alive, tells what became of them, and leaves none behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from auditor.children import HEALTHY_SECONDS, LONGEST_SECONDS, PERSON_SECONDS, backoff, exit_text
from auditor.locks import held
from comparators.errors import SettingInvalid
from tests.helpers import wait_for

ROOT = Path(__file__).parents[2]
DEADLINE = 20

# Runs a supervisor over made-up children and writes every report as a line of JSON.
PROGRAM = """
import json, sys
from auditor import children, supervisor
from auditor.children import ChildSpec
from auditor.log import configure
folder, run_for, *specs = sys.argv[1:]
configure("run")
supervisor.STOP_SECONDS = 1.0
def report(name, restarts, last_exit):
    with open(f"{folder}/reports", "a") as out:
        print(json.dumps([name, restarts, last_exit]), file=out, flush=True)
specs = [ChildSpec(name, (sys.executable, "-c", code)) for name, code in (spec.split("=", 1) for spec in specs)]
supervisor.Supervisor(specs, report).run(float(run_for) or None)
"""
# A child that notes its pid and then waits for ever.
LIVES = "import os, time; print(os.getpid(), file=open('{folder}/{name}', 'a'), flush=True); time.sleep(1000)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LIVES


class Running:
    """One supervisor under test."""

    def __init__(self, folder, run_for=0, **codes):
        self.folder = folder
        specs = [f"{name}={code.format(folder=folder, name=name)}" for name, code in codes.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(run_for), *specs],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def pids(self, name):
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.folder / name).read_text().splitlines()]
        return []

    def reports(self, name):
        with contextlib.suppress(FileNotFoundError):
            lines = [json.loads(line) for line in (self.folder / "reports").read_text().splitlines()]
            return [(restarts, last_exit) for one, restarts, last_exit in lines if one == name]
        return []

    def wait_started(self, name, times=1):
        return wait_for(lambda: self.pids(name)[times - 1 :], DEADLINE, f"start {times} of {name}")[0]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.communicate(timeout=DEADLINE)[1]


@pytest.fixture
def running(tmp_path):
    started = []

    def run(run_for=0, **codes):
        started.append(Running(tmp_path, run_for, **codes))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.communicate()
        for file in tmp_path.iterdir():
            for pid in one.pids(file.name) if file.name != "reports" else []:
                wait_for(lambda pid=pid: not exists(pid), DEADLINE, f"the end of {pid}")


def exists(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_killed_child_is_started_again_and_its_end_is_told(running):
    supervisor = running(worker=LIVES, gate=LIVES)
    first = supervisor.wait_started("worker")
    gate = supervisor.wait_started("gate")
    os.kill(first, signal.SIGKILL)
    second = supervisor.wait_started("worker", 2)
    assert first != second
    wait_for(lambda: (1, "killed by SIGKILL") in supervisor.reports("worker"), DEADLINE, "the report")
    assert supervisor.pids("gate") == [gate]
    assert "worker died and is started again" in supervisor.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_children(running, number):
    supervisor = running(worker=LIVES, gate=LIVES)
    pids = [supervisor.wait_started("worker"), supervisor.wait_started("gate")]
    supervisor.stop(number)
    assert supervisor.process.returncode == 0
    assert not any(map(exists, pids))


def test_a_child_that_does_not_stop_is_killed_with_what_it_started(running):
    code = STUBBORN.replace("import signal;", "import signal, os; os.fork() and print(end='');")
    supervisor = running(worker=code)
    supervisor.wait_started("worker", 2)
    supervisor.stop()
    assert not any(map(exists, supervisor.pids("worker")))


def test_a_supervisor_killed_at_once_leaves_no_child(running):
    supervisor = running(worker=LIVES, gate=LIVES)
    pids = [supervisor.wait_started("worker"), supervisor.wait_started("gate")]
    supervisor.stop(signal.SIGKILL)
    wait_for(lambda: not any(map(exists, pids)), DEADLINE, "the children's end")


def test_a_run_ends_when_its_time_is_over(running):
    supervisor = running(0.5, worker=LIVES)
    pid = supervisor.wait_started("worker")
    supervisor.process.communicate(timeout=DEADLINE)
    assert supervisor.process.returncode == 0
    assert not exists(pid)


def test_a_child_that_keeps_dying_is_started_again_and_again_and_its_last_line_is_kept(running):
    supervisor = running(worker="import sys; print('first'); print('error: no', file=sys.stderr); sys.exit(3)")
    wait_for(lambda: (3, "exit code 3: error: no") in supervisor.reports("worker"), DEADLINE, "three restarts")
    assert "error: no" in supervisor.stop()


def test_a_child_that_needs_a_person_is_not_started_again_at_once(running):
    supervisor = running(worker="import sys; sys.exit('error: x') if 0 else sys.exit(2)", gate=LIVES)
    supervisor.wait_started("gate")
    wait_for(lambda: (0, "exit code 2") in supervisor.reports("worker"), DEADLINE, "its end")
    assert f"in_seconds={PERSON_SECONDS}" in supervisor.stop()


def test_a_lifeline_ends_a_process_that_ignores_the_signal(tmp_path):
    code = """
import os, signal, sys, time
from auditor.lifeline import hold
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
hold(int(sys.argv[1]), 0.2)
print("ready", flush=True)
while True: time.sleep(1000)
"""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(reading)], pass_fds=(reading,), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(reading)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.close(writing)
        assert process.stdout.read() == "asked\n"
        assert process.wait(DEADLINE) == 3


def test_a_second_holder_of_a_lock_is_refused_with_the_pid_of_the_first(tmp_path):
    with (
        held(tmp_path / "run.lock", "`auditor run`"),
        pytest.raises(SettingInvalid, match=rf"`auditor run` is running already on .* \(process {os.getpid()}\)"),
        held(tmp_path / "run.lock", "`auditor run`"),
    ):
        pass
    with held(tmp_path / "run.lock", "`auditor run`"):
        pass  # free again


def test_a_lock_outlives_no_holder_however_it_ends(tmp_path):
    code = f"""
import subprocess, sys, time
from pathlib import Path
from auditor.locks import held
with held(Path({str(tmp_path / "run.lock")!r}), "x"):
    subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, process_group=0)
    print("held", flush=True)
    time.sleep(1000)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
    try:
        with held(tmp_path / "run.lock", "x", wait_seconds=DEADLINE):
            assert all(map(exists, map(int, children)))
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def test_back_off_doubles_up_to_its_end_and_a_person_is_given_time():
    assert [backoff(failures, 1) for failures in (1, 2, 3, 7, 1000)] == [
        0.2,
        0.4,
        0.8,
        LONGEST_SECONDS,
        LONGEST_SECONDS,
    ]
    assert {backoff(failures, code) for failures in (1, 9) for code in (2, 4)} == {PERSON_SECONDS}
    assert HEALTHY_SECONDS > PERSON_SECONDS


def test_an_end_is_told_in_words():
    assert exit_text(-9, "x") == "killed by SIGKILL"
    assert exit_text(-99, "x") == "killed by signal 99"
    assert exit_text(4, "error: a") == "exit code 4: error: a"
    assert exit_text(0, "") == "exit code 0"


def test_a_second_run_on_the_same_state_is_refused_while_the_first_one_lives(tmp_path):
    config = tmp_path / "auditor.yaml"
    config.write_text(
        """
migration: orders
source: {dsn: "host=/nowhere dbname=app"}
target: {dsn: "host=/nowhere dbname=app"}
replication: {publication: app_pub, subscription: app_sub}
"""
    )
    command = [sys.executable, "-m", "auditor", "run", "-c", str(config)]
    lock = tmp_path / ".auditor/orders/run.lock"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as first:
        wait_for(lambda: lock.exists() and lock.read_text(), DEADLINE, "the first one's lock")
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert second.returncode == 2
        assert f"`auditor run` is running already on {lock.parent} (process {first.pid})" in second.stderr
        assert first.poll() is None
        first.terminate()
        first.communicate(timeout=DEADLINE)
        assert first.returncode == 0
