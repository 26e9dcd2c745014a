"""Progress of reading tables: what a terminal shows, and what a pipe gets."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from auditor.bars import Drawn, Lines, RateColumn, bars, expected


class Clock:
    """A clock that stands still until told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("rows", "share", "estimate", "guess"),
    [(0, 0.0, 900, 900), (50, 0.5, 900, 100), (2000, 0.001, 900, 2000), (0, 0.0, 0, 0), (7, 1.0, 900, 7)],
)
def test_the_rows_of_a_table_are_guessed_by_what_was_read(rows, share, estimate, guess):
    assert guess == expected(rows, share, estimate)


def test_a_bar_names_its_table_and_gives_way_to_its_result():
    screen = StringIO()
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:.0f} of {task.total:.0f}"), RateColumn())
    with Progress(*columns, console=Console(file=screen, width=100), auto_refresh=False) as progress:
        drawn = Drawn(progress)
        drawn.begin("Back Office.[Notes]", 1000)
        drawn.advance("Back Office.[Notes]", 250, 0.5)
        (task,) = progress.tasks
        assert (task.completed, task.total) == (250, 500)
        drawn.end("Back Office.[Notes]", "[Notes]: 500 rows equal")
        assert progress.tasks == []
    assert "[Notes]: 500 rows equal" in screen.getvalue()


def test_without_a_terminal_a_long_read_says_a_line_now_and_then(capsys):
    clock = Clock()
    said = Lines("diff", clock)
    said.begin("public.t", 1000)
    said.advance("public.t", 10, 0.01)
    clock.now += 5
    said.advance("public.t", 500, 0.5)
    said.advance("public.t", 510, 0.51)
    said.end("public.t", "done")
    assert capsys.readouterr().err.splitlines() == ["diff: public.t: 500 rows, 50%, 100 rows/s, 5 s left"]


def test_nothing_is_printed_on_stdout(capsys):
    with bars(live=True, colours=False, who="diff") as shown:
        shown.begin("public.t", 10)
        shown.advance("public.t", 10, 1.0)
        shown.end("public.t", "done")
    assert capsys.readouterr().out == ""
