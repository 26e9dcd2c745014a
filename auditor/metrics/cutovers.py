"""Metrics of the cutover, as its journal tells it; none where no cutover is configured or the journal is not read."""

from collections.abc import Callable

from auditor.cutover.documents import Seen
from auditor.cutover.story import Attempt, current
from auditor.metrics.values import Declared, Samples, Scrape, one, seconds
from orchestrator.cutover import Phase


def _of_journal(read: Callable[[Seen], Samples]) -> Callable[[Scrape], Samples]:
    """Read what is known of now."""

    def known(scrape: Scrape) -> Samples:
        followed = scrape.view.cutover
        return [] if followed is None or followed.seen is None or followed.error else read(followed.seen)

    return known


def _of_attempt(read: Callable[[Attempt], Samples]) -> Callable[[Scrape], Samples]:
    """Read the newest attempt."""

    def known(seen: Seen) -> Samples:
        attempt = current(seen.attempts)
        return [] if attempt is None else read(attempt)

    return _of_journal(known)


def _journal(scrape: Scrape) -> Samples:
    followed = scrape.view.cutover
    return [] if followed is None else one(int(followed.error is None))


def _phase(seen: Seen) -> Samples:
    attempt = current(seen.attempts)
    here = attempt.run.phase if attempt else Phase.REGISTERED
    return [((str(phase),), int(phase is here)) for phase in Phase]


def _needs_person(seen: Seen) -> Samples:
    attempt = current(seen.attempts)
    stuck = attempt is not None and attempt.run.phase is Phase.STUCK
    return one(int(stuck or seen.owed is not None))


def _proof(attempt: Attempt) -> Samples:
    lacking = sum(link.problem is not None for link in attempt.chain)
    return [(("proved",), len(attempt.chain) - lacking), (("missing",), lacking)]


METRICS = (
    Declared("auditor_cutover_journal_up", "1 while the journal of cutovers can be read, else 0.", _journal),
    Declared(
        "auditor_cutover_phase",
        "1 for the phase in which the newest attempt is, else 0.",
        _of_journal(_phase),
        ("phase",),
    ),
    Declared(
        "auditor_cutover_attempts_total",
        "Attempts of a cutover, rollbacks included.",
        _of_journal(lambda seen: one(len(seen.attempts))),
    ),
    Declared(
        "auditor_cutover_running",
        "1 while an orchestrator holds the lease, else 0.",
        _of_journal(lambda seen: one(int(seen.lease is not None and not seen.lease.over))),
    ),
    Declared(
        "auditor_cutover_writes_held",
        "1 while the applications' writes are held, as the journal tells, else 0.",
        _of_attempt(lambda attempt: one(int(attempt.run.held and not attempt.run.over))),
    ),
    Declared(
        "auditor_cutover_held_write_seconds",
        "For how long the newest attempt held writes.",
        _of_attempt(lambda attempt: one(seconds(attempt.held_ms))),
    ),
    Declared(
        "auditor_cutover_proof_links",
        "Links of the newest attempt's chain of proof, by whether they are there.",
        _of_attempt(_proof),
        ("state",),
    ),
    Declared(
        "auditor_cutover_needs_person",
        "1 while a cutover is stuck, or failed and not acknowledged, else 0.",
        _of_journal(_needs_person),
    ),
)
