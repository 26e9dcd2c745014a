"""What the shop's clients do: transactions as lists of statements, drawn from a seed and from nothing else."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import md5
from typing import TypeVar
from uuid import UUID

Row = TypeVar("Row")
Statement = tuple[str, tuple[object, ...]]
HOT = tuple(f"sku-{number}" for number in range(1, 6))
PRODUCTS = 200
CUSTOMERS = 500
KEPT = 400
"""Rows of a kind that a client remembers, and so may change or delete later."""


class Ending(Enum):
    COMMIT = "commit"
    ROLLBACK = "rollback"
    PREPARE = "prepare"


@dataclass(frozen=True, slots=True)
class Script:
    """One transaction."""

    statements: tuple[Statement, ...]
    ending: Ending = Ending.COMMIT
    pause_seconds: float = 0.0
    """How long it stays open before its last statement."""


class Client:
    """Draws transactions; two clients never touch the same new rows, but fight for the hot ones."""

    def __init__(self, number: int, clients: int, seed: int, *, prepared: bool) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._serial = number
        self._step = clients
        self._name = number
        self._orders: deque[tuple[int, int]] = deque()
        self._documents: deque[int] = deque()
        self._deliveries: deque[tuple[int, str]] = deque()
        self._reviews: deque[int] = deque()
        self._notes: deque[int] = deque()
        self._skus: deque[str] = deque()
        self._visits: deque[str] = deque()
        self._days = 0
        kinds: list[tuple[Callable[[], Script], int]] = [
            (self.place_order, 300), (self.advance_order, 150), (self.edit_customer, 100), (self.sell_hot, 120),
            (self.return_order, 40), (self.write_document, 20), (self.touch_document, 40), (self.visit, 60),
            (self.deliver, 70), (self.review, 70), (self.rename_product, 20), (self.note, 40),
            (self.change_of_mind, 40), (self.abandon, 30), (self.count_stock, 40),
        ]  # fmt: skip
        if prepared:
            kinds.append((self.order_in_two_phases, 10))
        self._kinds, self._weights = zip(*kinds, strict=True)

    def __iter__(self) -> Iterator[Script]:
        return self

    def __next__(self) -> Script:
        kind: Callable[[], Script] = self._random.choices(self._kinds, self._weights)[0]
        return kind()

    # --- orders -------------------------------------------------------------------------------------------------

    def place_order(self) -> Script:
        """Insert an order with its items and payment and take the goods off stock."""
        return Script(tuple(self._order()))

    def order_in_two_phases(self) -> Script:
        """Place an order with PREPARE TRANSACTION."""
        return Script(tuple(self._order()), Ending.PREPARE)

    def abandon(self) -> Script:
        """Place an order and roll it back."""
        kept = deque(self._orders)
        script = Script(tuple(self._order()), Ending.ROLLBACK)
        self._orders = kept
        return script

    def _order(self) -> Iterator[Statement]:
        order, lines = self._next(), self._random.randint(1, 4)
        total = self._random.randint(100, 99999) / 100
        gift = self._random.random() < 0.1
        note = self._random.choice((None, "", "leave at the door", "naïve café ☕"))
        yield (
            "INSERT INTO orders (id, customer_id, total, deliver_within, gift, note) VALUES (%s, %s, %s, %s, %s, %s)",
            (order, self._customer(), total, f"{lines} days 02:00:00", gift, note),
        )
        for line in range(1, lines + 1):
            yield (
                "INSERT INTO order_items VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb)",
                (order, line, self._sku(), line, total, total - 1, '{"colour": "red", "size": [1, 2]}'),
            )
        yield "UPDATE products SET stock = stock - 1 WHERE sku = %s", (self._sku(),)
        yield "UPDATE customers SET credit = credit + 0.01 WHERE id = %s", (self._customer(),)
        yield "INSERT INTO payments VALUES (%s, %s, %s, %s::payment_state[], NULL)", (
            f"pay-{order}", order, total, "{created,authorised}",
        )  # fmt: skip
        self._remember(self._orders, (order, lines))

    def advance_order(self) -> Script:
        """Take payment for an order, or change its total."""
        if not self._orders:
            return self.place_order()
        order, _ = self._random.choice(self._orders)
        return Script((
            ("UPDATE orders SET state = 'paid', total = total + 1, note = %s WHERE id = %s", (self._word(), order)),
            (
                "UPDATE payments SET states = states || 'captured'::payment_state, settled_at = clock_timestamp()"
                " WHERE reference = %s AND cardinality(states) < 8",
                (f"pay-{order}",),
            ),
        ))  # fmt: skip

    def return_order(self) -> Script:
        """Delete an order and all that hangs on it, and the payment's key becomes another."""
        if not self._orders:
            return self.place_order()
        order, _ = self._orders.popleft()
        return Script((
            ("DELETE FROM order_items WHERE order_id = %s", (order,)),
            ("DELETE FROM orders WHERE id = %s", (order,)),
            (
                "UPDATE payments SET reference = %s, states = '{refunded}' WHERE reference = %s",
                (f"refund-{order}", f"pay-{order}"),
            ),
        ))  # fmt: skip

    def sell_hot(self) -> Script:
        """Take the same few goods off stock that everybody wants."""
        return Script(tuple(
            ("UPDATE products SET stock = stock - %s WHERE sku = %s", (self._random.randint(1, 9), sku))
            for sku in sorted(self._random.sample(HOT, 2))
        ))  # fmt: skip

    def change_of_mind(self) -> Script:
        """Write under savepoints, one of which is rolled back."""
        order, _ = self._random.choice(self._orders) if self._orders else (0, 0)
        return Script((
            ("UPDATE orders SET gift = NOT gift WHERE id = %s", (order,)),
            ("SAVEPOINT a", ()),
            ("UPDATE orders SET total = total + 1000 WHERE id = %s", (order,)),
            ("INSERT INTO order_items VALUES (%s, 99, 'sku-1', 1, 1, 1)", (order,)),
            ("ROLLBACK TO SAVEPOINT a", ()),
            ("SAVEPOINT b", ()),
            ("UPDATE orders SET note = %s WHERE id = %s", (self._word(), order)),
            ("RELEASE SAVEPOINT b", ()),
        ))  # fmt: skip

    # --- the rest of the shop -----------------------------------------------------------------------------------

    def edit_customer(self) -> Script:
        """Change a customer's preferences and tier."""
        tier = self._random.choice(("bronze", "silver", "gold"))
        return Script((
            (
                "UPDATE customers SET preferences = preferences || jsonb_build_object(%s::text, %s::text), tier = %s"
                " WHERE id = %s",
                (f"p{self._random.randint(0, 9)}", self._word(), tier, self._customer()),
            ),
        ))  # fmt: skip

    def write_document(self) -> Script:
        """Store a document too large for its row, or write one anew."""
        body, scan = self._random.randbytes(1200).hex(), self._random.randbytes(2500)
        if len(self._documents) > 20 and self._random.random() < 0.5:
            document = self._random.choice(self._documents)
            return Script((("UPDATE documents SET body = %s, version = version + 1 WHERE id = %s", (body, document)),))
        document = self._next()
        gone = self._remember(self._documents, document)
        added = ("INSERT INTO documents VALUES (%s, %s, 1, %s, %s)", (document, self._word(), body, scan))
        return Script((added, *(("DELETE FROM documents WHERE id = %s", (old,)) for old in gone)))

    def touch_document(self) -> Script:
        """Change a document's row and leave the large values as they are."""
        if not self._documents:
            return self.write_document()
        document = self._random.choice(self._documents)
        return Script(
            (("UPDATE documents SET version = version + 1, title = %s WHERE id = %s", (self._word(), document)),)
        )

    def visit(self) -> Script:
        """Insert equal rows into a table without a key; later change and delete some of them."""
        page = f"/p/{self._name}/{self._next() % 40}"
        if len(self._visits) < 60:
            self._visits.append(page)
            row = ("INSERT INTO visits VALUES (%s, current_date, %s)", (page, self._random.choice((1.5, 2.25))))
            return Script((row,) * self._random.randint(1, 3))
        old = self._visits.popleft()
        return Script((
            ("UPDATE visits SET milliseconds = milliseconds + 1 WHERE page = %s", (old,)),
            ("DELETE FROM visits WHERE page = %s", (old,)),
        ))  # fmt: skip

    def deliver(self) -> Script:
        """Plan a delivery, send it to another depot (another partition), or finish it."""
        choice = self._random.random()
        if choice < 0.4 or len(self._deliveries) < 5:
            delivery, depot = self._next(), self._depot()
            self._remember(self._deliveries, (delivery, depot))
            return Script((
                (
                    "INSERT INTO deliveries VALUES (%s, %s, %s, 1, daterange(current_date, current_date + 2), %s)",
                    (delivery, depot, delivery, f"10.0.0.{delivery % 250}"),
                ),
            ))  # fmt: skip
        place = self._random.randrange(len(self._deliveries))
        delivery, depot = self._deliveries[place]
        if choice < 0.7:
            other = self._depot()
            self._deliveries[place] = (delivery, other)
            move = "UPDATE deliveries SET depot = %s, parcels = 2 WHERE id = %s AND depot = %s"
            return Script(((move, (other, delivery, depot)),))
        del self._deliveries[place]
        return Script((("DELETE FROM deliveries WHERE id = %s AND depot = %s", (delivery, depot)),))

    def review(self) -> Script:
        """Write, change or delete a review."""
        choice = self._random.random()
        if choice < 0.5 or not self._reviews:
            review = self._next()
            self._remember(self._reviews, review)
            values = (review, self._sku(), self._random.randint(1, 5), self._word())
            return Script((("INSERT INTO reviews (id, sku, stars, headline) VALUES (%s, %s, %s, %s)", values),))
        if choice < 0.8:
            review = self._random.choice(self._reviews)
            return Script((("UPDATE reviews SET said = %s, stars = 3 WHERE id = %s", (self._word(), review)),))
        return Script((("DELETE FROM reviews WHERE id = %s", (self._reviews.popleft(),)),))

    def rename_product(self) -> Script:
        """Add a product of this client, or give one another text key, twice in one transaction."""
        if len(self._skus) < 5:
            sku = f"own-{self._name}-{self._next()}"
            self._skus.append(sku)
            tags = ["new", 'with "quotes" and, comma', self._word()]
            return Script(
                (("INSERT INTO products VALUES (%s, %s, 1.50, %s, '{1,2}', 0.1)", (sku, self._word(), tags)),)
            )
        old, new = self._skus.popleft(), f"own-{self._name}-{self._next()}"
        self._skus.append(new)
        rename = "UPDATE products SET sku = %s, price = price + 0.1 WHERE sku = %s"
        return Script(((rename, (f"{new}-x", old)), (rename, (new, f"{new}-x"))))

    def note(self) -> Script:
        """Write into the table with quoted names."""
        if self._notes and self._random.random() < 0.5:
            number = self._random.choice(self._notes)
            update = 'UPDATE "Back Office"."Staff Notes" SET "Body" = %s, "dueAt" = now() WHERE "Id" = %s'
            return Script(((update, (self._word(), number)),))
        number = self._next()
        self._remember(self._notes, number)
        insert = 'INSERT INTO "Back Office"."Staff Notes" VALUES (%s, %s, %s, NULL)'
        return Script(((insert, (number, self._word(), None)),))

    def count_stock(self) -> Script:
        """Change rows whose whole old image is in the log."""
        update = "UPDATE stock_levels SET on_hand = on_hand + 1, counted_at = now() WHERE warehouse = %s AND sku = %s"
        return Script(((update, (self._random.randint(1, 2), self._sku())),))

    # --- rare ones, called by name ------------------------------------------------------------------------------

    def large(self) -> Script:
        """Write a few thousand rows in one transaction, and delete those of an earlier one."""
        rows = self._random.randint(2000, 4000)
        return Script((
            ("DELETE FROM price_history WHERE sku LIKE %s", (f"own-{self._name}-%",)),
            (
                "INSERT INTO price_history SELECT 'own-' || %s::text || '-' || i, now(), i::numeric / 7"
                " FROM generate_series(1, %s) i",
                (str(self._name), rows),
            ),
        ))  # fmt: skip

    def new_day(self) -> Script:
        """Empty a table with TRUNCATE and fill it again."""
        self._days += 1
        return Script((
            ("TRUNCATE daily_totals", ()),
            (
                "INSERT INTO daily_totals SELECT date '2026-01-01' + %s::int, sku, stock FROM products"
                " WHERE sku LIKE 'sku-%%' ORDER BY sku LIMIT 50",
                (self._days,),
            ),
        ))  # fmt: skip

    def long(self) -> Script:
        """Leave a transaction open for a second between its writes."""
        first, last = self._next(), self._next()
        insert = "INSERT INTO reviews (id, sku, stars, headline) VALUES (%s, 'sku-1', 5, 'written in two sittings')"
        return Script(((insert, (first,)), (insert, (last,))), pause_seconds=1.0)

    # --- drawing ------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._serial += self._step
        return self._serial

    def _remember(self, known: deque[Row], row: Row) -> list[Row]:
        known.append(row)
        return [known.popleft()] if len(known) > KEPT else []

    def _customer(self) -> UUID:
        return UUID(md5(f"customer {self._random.randint(1, CUSTOMERS)}".encode(), usedforsecurity=False).hexdigest())

    def _sku(self) -> str:
        return f"sku-{self._random.randint(1, PRODUCTS)}"

    def _depot(self) -> str:
        return self._random.choice(("north", "south", "east"))

    def _word(self) -> str:
        return self._random.choice(("plain", "", "it's", "zwölf", "line\nbreak", "tab\tand \\ backslash", "日本", " "))
