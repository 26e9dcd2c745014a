"""Kafka's jars: fetched once by Maven as `pom.xml` pins them, and kept."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from auditor.servers.processes import LOG_TAIL_LINES, ServerFailed
from comparators.errors import NotInstalled

POM = Path(__file__).with_name("pom.xml")
PACKAGES = {"java": "default-jre-headless", "mvn": "maven"}
FETCH_SECONDS = 600


def find_program(name: str) -> str:
    """Find `java` or `mvn`.

    Raises:
        NotInstalled: it is not on the PATH; the hint names Debian's package.
    """
    found = shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed, and Kafka needs it", hint=f"apt-get install {PACKAGES[name]}")
    return found


def kafka_jars() -> Path:
    """Return the folder of the jars; fetch them the first time.

    Raises:
        NotInstalled: Maven is missing and the jars are not there yet.
        ServerFailed: Maven could not fetch them; the text ends with what it said.
    """
    folder = _cache() / f"kafka-jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _fetch(folder)
    return folder


def _cache() -> Path:
    """Keep them in the checkout where there is one, as the environment is; in the user's cache otherwise."""
    checkout = POM.parents[2]
    if (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK):
        return checkout / ".cache"
    return Path.home() / ".cache" / "auditor"


def _fetch(folder: Path) -> None:
    """Fetch so that the folder is there only when it is complete."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    print("fetching Kafka's jars with Maven (45 MB)", file=sys.stderr, flush=True)
    command = [find_program("mvn"), "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={part}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
    if done.returncode or not part.exists():
        said = "\n".join((done.stdout + done.stderr).splitlines()[-LOG_TAIL_LINES:])
        raise ServerFailed(f"Maven could not fetch Kafka's jars\n{said}")
    part.rename(folder)


def main() -> int:
    """Fetch the jars where they are missing; exit status 4 with the reason when that fails."""
    try:
        print(f"Kafka's jars: {kafka_jars()}")
    except NotInstalled as missing:
        print(f"{missing}: {missing.hint}", file=sys.stderr)
        return 4
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 4
    return 0
