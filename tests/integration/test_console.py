"""The console in a real browser, on a real gate process: live, honest when it is not, and usable by everybody."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser import Browser, browser
from tests.helpers import wait_for
from tests.helpers_records import FINDING, covered, suspect
from tests.served_gates import ServedGate

MARKUP = "public.<script>document.title='owned'</script>"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Browser]:
    chromium.leave()
    chromium.look()
    chromium.complaints()
    yield chromium
    chromium.leave()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[ServedGate]:
    with ServedGate(tmp_path) as served:
        yield served


def said(tab: Browser) -> str:
    """Give the word that stands large on the page, if it is one of the four."""
    text = tab.text("#verdict")
    return next((word for word in ("NOT KNOWN", "INCONCLUSIVE", "FAIL", "PASS") if f"{word}\n" in text), "")


def until(tab: Browser, word: str) -> None:
    wait_for(lambda: said(tab) == word, 30, f"{word} on the page")


def opened(tab: Browser, gate: ServedGate, word: str = "PASS") -> None:
    tab.driver.get(f"{gate.url}/")
    until(tab, word)


def confirm(gate: ServedGate) -> None:
    gate.planted[f"suspect/{FINDING}"] = suspect(now=time.time(), state="confirmed", table=MARKUP)


# Live.


def test_a_difference_turns_the_page_without_reload_and_its_healing_turns_it_back(
    tab: Browser, gate: ServedGate
) -> None:
    opened(tab, gate)
    tab.run("window.sameDocument = true; document.body.focus()")
    assert tab.driver.title.startswith("PASS at ")
    passed = tab.run("return document.getElementById('favicon').href")
    confirm(gate)
    until(tab, "FAIL")
    assert tab.driver.title.startswith("FAIL at ")
    assert tab.run("return document.getElementById('favicon').href") != passed
    assert tab.run("return document.getElementById('announced').textContent") == "Verdict: FAIL"
    assert MARKUP in tab.text("#findings")
    gate.planted[f"settled/{FINDING}"] = {"state": "healed", "settled_at": time.time()}
    until(tab, "PASS")
    assert "INCONCLUSIVE" in tab.text("#history") or "FAIL" in tab.text("#history")
    assert tab.run("return window.sameDocument")


def test_figures_go_on_while_the_verdict_stays(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    first = tab.text("#pulse")
    wait_for(lambda: tab.text("#pulse") != first, 20, "another figure")
    assert tab.text("#pulse").startswith("live, as of ")


def test_focus_selection_scroll_and_what_is_unfolded_stay_through_changes(tab: Browser, gate: ServedGate) -> None:
    tab.look(width=1200, height=500)
    opened(tab, gate)
    tab.run(
        "document.querySelector('details').open = true; document.querySelector('summary').focus();"
        "window.scrollTo({top: 300, behavior: 'instant'});"
    )
    top = tab.run("return window.scrollY")
    confirm(gate)
    until(tab, "FAIL")
    assert tab.run("return document.activeElement.nodeName") == "SUMMARY"
    assert tab.run("return document.querySelector('details').open")
    assert tab.run("return window.scrollY") == top


def test_it_complains_of_nothing_and_asks_nobody_else(tab: Browser, gate: ServedGate) -> None:
    gate.planted[f"coverage/{MARKUP}"] = covered(MARKUP, time.time())
    opened(tab, gate)
    confirm(gate)
    until(tab, "FAIL")
    assert tab.complaints() == []
    asked = tab.requests()
    assert any("/console/fragment" in address for address in asked)
    assert all(address.startswith((gate.url, "data:")) for address in asked)


# Not live: nothing old may pass for new.


def not_known(tab: Browser) -> None:
    until(tab, "NOT KNOWN")
    assert "Not live since " in tab.text("#verdict")
    assert tab.driver.title.startswith("NOT KNOWN, not live since ")
    assert tab.text("#pulse").startswith("not live since ")
    assert tab.run("return document.getElementById('announced').textContent").startswith("Verdict: not known")


def test_a_killed_gate_leaves_no_verdict_on_the_screen_and_a_new_one_brings_it_back(
    tab: Browser, gate: ServedGate
) -> None:
    opened(tab, gate)
    tab.run("window.sameDocument = true")
    gate.signal(signal.SIGKILL)
    not_known(tab)
    assert "PASS (old)" not in tab.text("#verdict")
    gate.start()
    until(tab, "PASS")
    assert tab.run("return window.sameDocument")


def test_a_gate_that_hangs_leaves_no_verdict_on_the_screen(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    gate.signal(signal.SIGSTOP)
    try:
        not_known(tab)
    finally:
        gate.signal(signal.SIGCONT)
    until(tab, "PASS")


def test_a_machine_that_slept_shows_nothing_old(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    tab.run(
        "window.states = [];"
        "new MutationObserver(() => window.states.push(document.documentElement.dataset.state))"
        ".observe(document.documentElement, {attributeFilter: ['data-state']});"
        "const now = Date.now.bind(Date); Date.now = () => now() + 60000;"
    )
    wait_for(lambda: tab.run("return window.states")[:2] == ["lost", "live"], 20, "not known, then live again")


def test_a_clock_set_back_does_not_prolong_a_verdict(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    gate.signal(signal.SIGSTOP)
    try:
        tab.run("const now = Date.now.bind(Date); Date.now = () => now() - 3600000;")
        not_known(tab)
    finally:
        gate.signal(signal.SIGCONT)


def test_a_frozen_tab_takes_its_verdict_back_before_it_sleeps(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    tab.run(
        "window.states = [];"
        "new MutationObserver(() => window.states.push(document.documentElement.dataset.state))"
        ".observe(document.documentElement, {attributeFilter: ['data-state']});"
        "document.dispatchEvent(new Event('freeze'));"
    )
    wait_for(lambda: tab.run("return window.states")[:1] == ["lost"], 20, "not known")
    until(tab, "PASS")


def test_without_javascript_it_comes_again_and_again(tab: Browser, gate: ServedGate) -> None:
    tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        tab.driver.get(f"{gate.url}/")
        wait_for(lambda: tab.title().startswith("PASS at "), 30, "PASS in the title")
        confirm(gate)
        wait_for(lambda: tab.title().startswith("FAIL at "), 30, "FAIL in the title")
    finally:
        tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_page_whose_script_never_came_takes_its_verdict_back(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    tab.driver.execute_cdp_cmd("Network.enable", {})
    tab.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/console.js"]})
    try:
        tab.driver.refresh()
        wait_for(lambda: tab.run("return document.documentElement.dataset.state") is None, 20, "a page without script")
        until(tab, "NOT KNOWN")
        assert "PASS" in tab.run("return document.querySelector('.known').textContent")
    finally:
        tab.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


# For everybody.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_keeps_anybody_out(tab: Browser, gate: ServedGate, scheme: str, width: int) -> None:
    tab.look(scheme, width)
    opened(tab, gate)
    assert tab.violations() == []
    confirm(gate)
    until(tab, "FAIL")
    tab.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert tab.violations() == []
    assert tab.run("return document.documentElement.scrollWidth") <= width
    gate.signal(signal.SIGKILL)
    until(tab, "NOT KNOWN")
    assert tab.violations() == []


def test_the_schemes_differ(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    colours = []
    for scheme in ("light", "dark"):
        tab.look(scheme)
        colours.append(tab.run("return getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]


WALK = """
const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
return {
  name: one.nodeName + (one.id && '#' + one.id) + (one.getAttribute('href') || '') +
    (one.getAttribute('aria-labelledby') || ''),
  ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  seen: box.bottom > 0 && box.top < innerHeight && box.width > 0,
};
"""
REACHABLE = """
const all = [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')];
return all.filter(one => one.checkVisibility()).length;
"""


def test_the_keyboard_reaches_everything_and_shows_where_it_is(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    tab.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    steps: list[dict[str, Any]] = []
    for _ in range(tab.run(REACHABLE)):
        tab.driver.switch_to.active_element.send_keys(Keys.TAB)
        steps.append(tab.run(WALK))
    names = [step["name"] for step in steps]
    assert names[0] == "A#main"
    assert len(set(names)) == len(names)
    assert names[-1].startswith("A/metrics")
    assert [step["name"] for step in steps if not step["ring"]] == []
    assert [step["name"] for step in steps if not step["seen"]] == []


def test_the_first_key_skips_to_the_verdict(tab: Browser, gate: ServedGate) -> None:
    opened(tab, gate)
    tab.driver.switch_to.active_element.send_keys(Keys.TAB)
    tab.driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: tab.run("return document.activeElement.id") == "main", 5, "the focus on the verdict")


# With tokens.


def test_a_browser_gives_its_token_as_a_password(
    tab: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSOLE_TOKEN", TOKEN)
    more = ', tokens: [{name: people, token: "env:CONSOLE_TOKEN", scopes: [read]}]'
    with ServedGate(tmp_path, more) as gate:
        assert gate.asked("/") == 401
        tab.driver.get(gate.url.replace("http://", f"http://anybody:{TOKEN}@"))  # as if typed into the dialogue
        wait_for(lambda: "orders" in tab.title(), 20, "the page")
        opened(tab, gate)
        confirm(gate)
        until(tab, "FAIL")

