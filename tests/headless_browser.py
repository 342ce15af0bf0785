# SPDX-License-Identifier: Apache-2.0
"""A real browser without a window, for pages that are looked at; tests are skipped where none is installed."""

import json
import os
import shutil
import subprocess
import time

import pytest

PATIENCE = 900  # seconds; only a failing test waits as long

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture
def browser(tmp_path):
    """Selenium's driver of a headless Chromium with an empty profile."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver")
    profile = tmp_path / "browser_profile"
    # The driver gives a browser that it starts itself one minute, which is too short where many tests share a core.
    process = subprocess.Popen(
        [program, *ARGUMENTS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        options = selenium.ChromeOptions()
        options.debugger_address = f"127.0.0.1:{_debugging_port(profile / 'DevToolsActivePort')}"
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = selenium.ChromeService(driver, env={**os.environ, "SE_OFFLINE": "true"})
        chromium = selenium.Chrome(options, service)
        chromium.set_page_load_timeout(PATIENCE)
        yield chromium
        chromium.quit()
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _debugging_port(path):
    """Return the port that the browser notes in a file when it is there."""
    deadline = time.monotonic() + PATIENCE
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.1)
    return path.read_text().split()[0]


def requested_addresses(browser):
    """Return the addresses that the browser's pages asked for since the last call, but those within the page."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"]["request"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [request["url"] for request in sent if not request["url"].startswith(("data:", "about:", "chrome:"))]
