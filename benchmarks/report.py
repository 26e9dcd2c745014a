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

    def ratio(self, name: str, value: float, target: float, better: str = "higher") -> None:
        """Add a ratio (or a figure that has a target)."""
        self.ratios[name] = {"value": round(value, 4), "target": target, "better": better}

    def show(self, as_json: bool) -> None:
        """Print everything."""
        if not as_json:
            for name, value in self.figures.items():
                print(f"{name:45} {value:>14,.3f}")
            for name, ratio in self.ratios.items():
                value, target = ratio["value"], ratio["target"]
                met = value >= target if ratio["better"] == "higher" else value <= target
                print(f"{name:45} {ratio['value']:>14,.3f}  target {ratio['target']:g}  {'met' if met else 'NOT MET'}")
        print(json.dumps({"name": self.name, "figures": self.figures, "ratios": self.ratios}))


def arguments(description: str, **numbers: int) -> argparse.Namespace:
    """Read `--json` and some whole numbers with defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()
