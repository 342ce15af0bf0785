# SPDX-License-Identifier: Apache-2.0
"""A report in a real browser: it asks for nothing, reports no fault, and can be read in the light and in the dark."""

import pytest
import torch
from headless_browser import browser, requested_addresses  # noqa: F401 a fixture

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.picture_grid import grid_png
from medti_components.visualize.report import HOW_TO_READ, Picture, Report, Section
from medti_components.visualize.tables import metrics_table


@pytest.fixture
def page(tmp_path):
    metric = IntervalEstimate(0.5, 0.25, 0.75, {"generated": 9, "real": 7}, "bootstrap over patients")
    row = Picture(grid_png([torch.rand(3, 16, 16) * 2 - 1 for _ in range(8)]), "A row of images")
    settings = {"dataset_dir": "<folder>", "made by": {"scheduler": ["A"] * 40}}
    report = Report("Generated images beside real ones", settings=settings)
    table = metrics_table([("held-out real images", metric), ("generated images", None)], "share")
    sections = [Section(None, [HOW_TO_READ]), Section("Pictures", [row]), Section("Metrics", [table])]
    report.add(sections, ["All is well."])
    report.add([Section("More")], ["More is well."])
    report.judge("sharing", "safe", is_good=True)
    path = tmp_path / "report.html"
    report.write(path)
    return path


def contrast(driver, selector):
    """Contrast of an element's text to the page as WCAG has it, (lighter + 0.05) / (darker + 0.05)."""
    colours = driver.execute_script(
        "let e = document.querySelector(arguments[0]);"
        "return [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]",
        selector,
    )

    def luminance(colour):
        shares = [int(value) / 255 for value in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def test_report_loads_alone_and_reads_well(browser, page):  # noqa: F811
    browser.get(page.as_uri())
    assert requested_addresses(browser) == [page.as_uri()]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.title == "Generated images beside real ones"
    images = "return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])"
    assert browser.execute_script(images) == [[True, 8 * 128, "A row of images"]]
    places = "return [...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash) !== null)"
    assert browser.execute_script(places) == [True] * 4
    above = browser.execute_script("return document.body.innerText").split("Pictures")[0]
    assert above.index("Verdict on sharing: safe") < above.index("All is well.") < above.index("More is well.")
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for selector in ("p", "td", "th", "figcaption", ".warning", ".verdict", "nav a"):
            assert contrast(browser, selector) >= 4.5, (scheme, selector)  # WCAG 2, level AA
    browser.set_window_size(420, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    reached = "return [...document.querySelectorAll('.table')].map(e => e.tabIndex === 0 && e.ariaLabel === 'Table')"
    assert browser.execute_script(reached) == [True] * 2  # wide tables are scrolled by keys
