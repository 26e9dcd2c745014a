"""A headless Chromium for the console's tests and pictures; it speaks to nobody but the gate under test."""

import base64
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.helpers import wait_for

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
AXE = Path(__file__).parent / "node/node_modules/axe-core/axe.min.js"


class Browser:
    """A tab, with what the tests want to know of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def leave(self) -> None:
        """Show nothing."""
        self.driver.get("about:blank")
        wait_for(lambda: self.driver.current_url == "about:blank", 20, "the empty page")

    def look(self, scheme: str = "light", width: int = 1440, height: int = 1000) -> None:
        """Choose the colour scheme and the size of the window; nothing moves that need not."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and give what it returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Give the text that is visible under a selector; empty where nothing is."""
        found = self.run("const one = document.querySelector(arguments[0]); return one && one.innerText", selector)
        return found or ""

    def title(self) -> str:
        """Give what the tab is called, without asking the page: one without JavaScript does not answer."""
        targets = self.driver.execute_cdp_cmd("Target.getTargets", {})["targetInfos"]
        return next((str(target["title"]) for target in targets if target["type"] == "page"), "")

    def violations(self) -> list[dict[str, Any]]:
        """Let axe look for what keeps people out."""
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script("axe.run(document).then(arguments[0])")
        return [
            {"rule": one["id"], "help": one["help"], "at": [node["html"][:200] for node in one["nodes"]]}
            for one in found["violations"]
        ]

    def complaints(self) -> list[str]:
        """Give what the page wrote to the console since the last call."""
        driver: Any = self.driver  # its stub has no types here
        return [entry["message"] for entry in driver.get_log("browser")]

    def requests(self) -> set[str]:
        """Give the addresses that the page has asked."""
        return set(self.run("return performance.getEntries().map(entry => entry.name).filter(name => /:/.test(name))"))

    def picture(self, height: int | None = None) -> bytes:
        """Give a PNG of the page from its top."""
        size = self.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height or size[1]), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return base64.b64decode(shot["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Run Debian's Chromium with an empty profile; nothing is ever downloaded."""
    chromium, chromedriver = which("chromium"), which("chromedriver")
    if chromium is None or chromedriver is None:
        raise AssertionError("chromium and chromedriver are not installed: scripts/setup-tests --install")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        options.page_load_strategy = "none"  # one that waits for a gate that hangs must not stop the test
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(executable_path=chromedriver))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
