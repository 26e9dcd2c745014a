"""The live view: it shows what a spectator must see, at every verdict and with nothing known yet."""

from io import StringIO

import pytest
from rich.console import Console

from auditor.demo.coverage import Coverage
from auditor.demo.view import drawn
from auditor.demo.watch import UNREACHABLE, Figures, Picture


def shown(picture: Picture) -> str:
    screen = StringIO()
    Console(width=120, file=screen).print(drawn(picture, 12.3, "under load"))
    return screen.getvalue()


def picture(verdict: str, *reasons: str) -> Picture:
    numbers = Figures(
        committed=500, sampled=400, matched=399, lag_ms={"p50": 0.4, "p95": 2.25}, sampled_per_second=180.0,
        matched_per_second=179.0, coverage=Coverage(15, 14, verified=123456),
    )  # fmt: skip
    finding = {"id": "f_0123456789abcdef", "kind": "row-different", "state": "confirmed", "table": "public.products"}
    said = {"verdict": verdict, "reasons": list(reasons), "sample": {"in_window_share": 0.987}}
    return Picture(said, numbers, (finding,) if verdict == "FAIL" else ())


def test_it_shows_counts_rates_lag_window_findings_and_reasons():
    text = shown(picture("FAIL", "Confirmed differences: 1 open"))
    for part in (
        "FAIL", "500 transactions committed", "399 of 400 sampled transactions matched", "180/s sampled",
        "179/s matched", "14 of 15 tables read whole, 123456 rows verified",
        "p95 2.2 ms", "98.7%", "f_0123456789abcdef", "row-different", "public.products",
        "Confirmed differences: 1 open",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_every_verdict_can_be_drawn(verdict):
    assert verdict in shown(picture(verdict))


def test_nothing_known_yet_is_shown_as_such():
    text = shown(Picture(UNREACHABLE, Figures(), ()))
    assert "INCONCLUSIVE" in text
    assert "? of ? sampled" in text
    assert "The gate does not answer" in text
