"""The sweep's benchmark on real servers, with few rows and no peers."""

import json

import pytest

from benchmarks.sweep import main


def test_a_small_run_finds_what_it_planted_and_prints_its_ratios_last(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "--rows", "20000", "--repeats", "1", "--only", "limit,sweep,copy"])

    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    ratios = {name: ratio["value"] for name, ratio in answer["ratios"].items()}
    assert "sweep" == answer["name"]
    assert {"clean_vs_limit", "clean_vs_copy", "scattered_vs_clean", "sweep_peak_megabytes"} <= ratios.keys()
    assert (0, 0) == (ratios["clean_false_differences"], ratios["sweep_unverified_rows"])
    assert (1.0, 1.0) == (ratios["scattered_found_share"], ratios["percent_found_share"])
    assert "not_measured" not in answer
