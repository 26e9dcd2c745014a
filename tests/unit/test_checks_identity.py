"""What the facts of two servers mean, judged both ways round."""

from dataclasses import replace

import pytest

from comparators.checks.identity import CHECKS, Collation, Identities, Identity, Server, judge_identity
from comparators.checks.judges import Denial
from comparators.preflight import Item, ItemStatus, completed

SERVER = Server(160004, "UTF8", "en_US.UTF-8", "en_US.UTF-8", "c")
EXTENSIONS = (("plpgsql", "1.0"), ("vector", "0.8.0"))
SOURCE = Identity(SERVER, ("1", 10.0), (Collation("default", "2.36", "2.36"),), EXTENSIONS)
TARGET = replace(SOURCE, cluster=("2", 20.0))
BLOCKS, WARN, OK = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN, ItemStatus.OK


def judged(source: Identity, target: Identity) -> dict[str, Item]:
    return {item.name: item for item in completed(judge_identity(Identities(source, target)), CHECKS)}


def worse(source: Identity, target: Identity) -> dict[str, ItemStatus]:
    return {name: item.status for name, item in judged(source, target).items() if item.status is not OK}


def on_server(side: Identity, **changed: object) -> Identity:
    return replace(side, server=replace(side.server, **changed))  # type: ignore[arg-type]


def test_equal_facts_pass_both_ways_round() -> None:
    assert {} == worse(SOURCE, TARGET)
    assert {} == worse(TARGET, SOURCE)


@pytest.mark.parametrize(
    ("changed", "forth", "back"),
    [
        ({"encoding": "LATIN1"}, {"encodings-alike": BLOCKS}, {"encodings-alike": BLOCKS}),
        ({"version": 180001}, {}, {"version-order": WARN}),
        ({"version": 130001}, {"versions-known": BLOCKS, "version-order": WARN}, {"versions-known": BLOCKS}),
        ({"version": 190001}, {"versions-known": BLOCKS}, {"versions-known": BLOCKS, "version-order": WARN}),
        ({"collate": "C"}, {"locales-alike": WARN}, {"locales-alike": WARN}),
        ({"ctype": "de_DE.UTF-8"}, {"locales-alike": WARN}, {"locales-alike": WARN}),
        ({"provider": "i", "locale": "en"}, {"locales-alike": WARN}, {"locales-alike": WARN}),
        ({"collate": "en_US.utf8"}, {}, {}),
    ],
)
def test_another_server_is_told(
    changed: dict[str, object], forth: dict[str, ItemStatus], back: dict[str, ItemStatus]
) -> None:
    assert forth == worse(SOURCE, on_server(TARGET, **changed))
    assert back == worse(on_server(TARGET, **changed), SOURCE)


def test_one_cluster_blocks_and_a_physical_copy_is_a_warning() -> None:
    assert {"clusters-differ": BLOCKS} == worse(SOURCE, SOURCE)
    assert {"clusters-differ": WARN} == worse(SOURCE, replace(SOURCE, cluster=("1", 99.0)))


def test_a_cluster_that_was_not_read_is_unknown() -> None:
    assert {"clusters-differ": ItemStatus.UNKNOWN} == worse(SOURCE, replace(TARGET, cluster=None))


@pytest.mark.parametrize(
    ("collation", "status"),
    [
        (Collation("default", "2.31", "2.36"), BLOCKS),
        (Collation("default", "2.31", None), BLOCKS),
        (Collation("default", None, "2.36"), WARN),
        (Collation("default", None, "2.36", keeps_version=False), WARN),
        (Collation("default", None, None, keeps_version=False), OK),
    ],
)
def test_the_version_that_indexes_were_built_with_counts_on_each_side(collation: Collation, status: ItemStatus) -> None:
    for source, target in ((SOURCE, TARGET), (TARGET, SOURCE)):
        assert status is judged(source, replace(target, collations=(collation,)))["collation-versions"].status
        assert status is judged(replace(source, collations=(collation,)), target)["collation-versions"].status


def test_other_versions_on_the_two_sides_are_a_warning() -> None:
    newer = replace(TARGET, collations=(Collation("default", "2.40", "2.40"),))

    assert {"collations-alike": WARN} == worse(SOURCE, newer)
    assert {"collations-alike": WARN} == worse(newer, SOURCE)


def test_extensions_are_owed_by_the_target_only() -> None:
    less = replace(TARGET, extensions=(("plpgsql", "1.0"),))

    assert ("vector",) == judged(SOURCE, less)["extensions-present"].subjects
    assert {} == worse(less, SOURCE)


@pytest.mark.parametrize(("version", "status"), [("0.7.4", WARN), ("0.10.0", OK), ("0.8.0", OK), ("0.8", WARN)])
def test_versions_of_extensions_are_compared_as_numbers(version: str, status: ItemStatus) -> None:
    other = replace(TARGET, extensions=(("plpgsql", "1.0"), ("vector", version)))

    assert status is judged(SOURCE, other)["extension-versions"].status


def test_what_was_refused_is_unknown_with_its_remedy() -> None:
    refused = replace(TARGET, extensions=(), denied={"extensions": Denial("no", "GRANT it")})

    items = judged(SOURCE, refused)

    assert {"extensions-present", "extension-versions"} == {n for n, item in items.items() if item.status.blocks}
    assert "GRANT it" == items["extensions-present"].remedy
