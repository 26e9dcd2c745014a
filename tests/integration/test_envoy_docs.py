"""The file in docs/cutover-envoy.md is the one that our own Envoys start from, and Envoy takes it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from auditor.servers.envoy import find_envoy
from orchestrator.adapters.envoy.bootstrap import bootstrap
from orchestrator.adapters.envoy.fleet import Address

DOCUMENT = Path(__file__).parents[2] / "docs" / "cutover-envoy.md"


def documented() -> Any:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return yaml.safe_load(next(block for block in blocks if block.startswith("node:")))


def place(text: str) -> Address:
    return Address.parse(text, "documented")


def test_the_documented_file_is_what_our_own_envoys_start_from():
    ask = [place("10.0.0.9:18000"), place("10.0.0.9:18010")]
    listeners = {"app": place("0.0.0.0:6432")}
    assert bootstrap("edge-1", ask, listeners, place("10.0.0.1:5432"), place("127.0.0.1:9901")) == documented()


def test_envoy_takes_the_documented_file(tmp_path: Path):
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(documented()))
    command = [find_envoy(), "--mode", "validate", "--config-path", file, "--disable-hot-restart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
