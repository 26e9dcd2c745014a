"""One form for every benchmark: a table for people, one JSON line last for programs."""

import argparse
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """Figures of one benchmark, and ratios with the target beside each."""

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    """What could not be measured here, and why; the ratios that need it are null."""

    def ratio(self, name: str, value: float | None, target: float, better: str = "higher") -> None:
        """Add a ratio (or a figure that has a target); `None` where a part of it was not measured."""
        known = None if value is None else round(value, 4)
        self.ratios[name] = {"value": known, "target": target, "better": better}

    def show(self, as_json: bool) -> None:
        """Print everything."""
        if not as_json:
            for name, value in self.figures.items():
                print(f"{name:45} {value:>14,.3f}")
            for name, ratio in self.ratios.items():
                print(_line(name, ratio))
            for name, reason in self.not_measured.items():
                print(f"{name}: not measured: {reason}")
        missing = {"not_measured": self.not_measured} if self.not_measured else {}
        print(json.dumps({"name": self.name, "figures": self.figures, "ratios": self.ratios} | missing))


def _line(name: str, ratio: dict[str, Any]) -> str:
    value, target = ratio["value"], ratio["target"]
    if value is None:
        return f"{name:45} {'-':>14}  target {target:g}  NOT MEASURED"
    met = value >= target if ratio["better"] == "higher" else value <= target
    return f"{name:45} {value:>14,.3f}  target {target:g}  {'met' if met else 'NOT MET'}"


def arguments(description: str, **numbers: int) -> argparse.Namespace:
    """Read `--json` and some whole numbers with defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()
