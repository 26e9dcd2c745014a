"""Whether a transaction had ended in a snapshot is told by its id, also where 32 bits of it have wrapped around."""

import pytest

from samplers.anchors import Snapshot


@pytest.mark.parametrize(
    ("writer", "snapshot", "expected"),
    [
        (99, "100:110:105", False),
        (105, "100:110:105", True),
        (106, "100:110:105", False),
        (110, "100:110:", True),
        (111, "100:110:", True),
        (5, f"{2**32 + 1}:{2**32 + 10}:", False),
        (5, f"{2**32 + 1}:{2**32 + 10}:{2**32 + 5}", True),
        (2**32 - 3, f"{2**32 + 1}:{2**32 + 10}:", False),
        (2**32 - 3, f"{2**32 - 9}:{2**32 + 10}:{2**32 - 3}", True),
        (4, f"{2**32 - 9}:{2**32 - 1}:", True),
    ],
)
def test_a_writer_runs_or_has_ended(writer: int, snapshot: str, expected: bool) -> None:
    assert expected is Snapshot(snapshot).runs(writer)
