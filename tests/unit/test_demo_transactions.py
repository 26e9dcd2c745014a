"""The workload: the same seed gives the same transactions, and every kind is among them."""

from itertools import islice

import pytest

from auditor.demo.transactions import Client, Ending, Script


def drawn(number: int = 0, seed: int = 1, *, prepared: bool = True, count: int = 3000) -> list[Script]:
    return list(islice(Client(number, 3, seed, prepared=prepared), count))


def text_of(scripts: list[Script]) -> str:
    return "\n".join(text for script in scripts for text, _ in script.statements)


def test_a_seed_gives_the_same_transactions_again():
    assert drawn() == drawn()
    assert drawn(seed=1) != drawn(seed=2)


def test_two_clients_never_insert_the_same_row():
    inserts = [
        {(text, values[:2]) for script in drawn(number) for text, values in script.statements if " orders " in text}
        for number in (0, 1)
    ]
    assert not inserts[0] & inserts[1]


def test_prepared_transactions_only_where_the_server_takes_them():
    assert any(script.ending is Ending.PREPARE for script in drawn())
    assert not any(script.ending is Ending.PREPARE for script in drawn(prepared=False))


@pytest.mark.parametrize(
    "part",
    ["SAVEPOINT a", "ROLLBACK TO SAVEPOINT", "UPDATE products SET sku", "SET depot", "DELETE FROM order_items",
     "visits", "INSERT INTO documents", "SET version = version + 1, title", "Staff Notes", "stock_levels"],
)  # fmt: skip
def test_the_mix_holds(part):
    assert part in text_of(drawn())


def test_what_is_rolled_back_is_not_referred_to_later():
    client = Client(0, 3, 1, prepared=False)
    before = [script.statements[0][1] for script in islice(client, 50)]
    abandoned = client.abandon()
    order = abandoned.statements[0][1][0]
    later = [value for script in islice(client, 2000) for _, values in script.statements for value in values]
    assert before
    assert order not in later
    assert f"pay-{order}" not in later


def test_the_rare_ones_are_large_long_and_emptying():
    client = Client(1, 3, 1, prepared=False)
    assert client.long().pause_seconds > 0
    rows = client.large().statements[1][1][1]
    assert isinstance(rows, int)
    assert rows >= 2000
    assert client.new_day().statements[0][0] == "TRUNCATE daily_totals"
