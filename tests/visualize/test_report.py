# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from report_pages import active_content, alternative_texts, outside_references

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.picture_grid import grid_png
from medti_components.visualize.report import Picture, Report, Section, Subheading
from medti_components.visualize.tables import Table, metrics_table

METRIC = IntervalEstimate(0.5, -0.25, 0.75, {"real": 9, "generated": 7}, "exact")


def order(page, *texts):
    """Return the texts in the order in which they stand in the page, each as often as it is there."""
    return re.findall("|".join(map(re.escape, texts)), page)


@pytest.fixture
def report():
    made = Report("A & B", settings={"a": "<i>"})
    shown = Picture(grid_png([torch.zeros(2, 4, 4)]), 'a "quoted" <caption>')
    table = metrics_table([("<b>", METRIC), ("none", None)], "share")
    made.add([Section("First", [table]), Section("Pictures", ["Said.", Subheading("<u>"), shown])], ["One & two"])
    return made


@pytest.fixture
def page(report):
    return report.render()


def test_needs_nothing_from_outside_and_runs_nothing(page):
    assert outside_references(page) == [] and active_content(page) == []
    assert "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page  # the browser would refuse


def test_the_check_sees_what_a_page_would_load():
    style, link = "<style>p{background:url(x.png)}</style>", '<a href="https://a.b/"></a>'
    page = f'{style}{link}<img src="c.png"><script src="d.js"></script>'
    assert outside_references(page) == [
        "https://a.b/",
        "c.png",
        "d.js",
        "x.png",
    ]
    assert active_content(page) == ["script"]


def test_text_is_escaped_and_every_picture_is_described(page):
    assert "<h1>A &amp; B</h1>" in page and "<li>One &amp; two</li>" in page and "<h3>&lt;u&gt;</h3>" in page
    assert "&lt;b&gt;" in page and "<b>" not in page and "<i>" not in page
    assert alternative_texts(page) == ['a "quoted" <caption>']


def test_contents_list_the_sections_of_parts_added_later(report):
    report.render()
    report.add([Section(None, ["How to read."]), Section("Second")])
    report.add([Section("Third <em>one</em>")])
    page = report.render()
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    titles = ["First", "Pictures", "Second", "Third &lt;em&gt;one&lt;/em&gt;", "Settings"]
    listed = [(f"section-{number}", title) for number, title in enumerate(titles, start=1)]
    assert re.findall('href="#(section-[0-9])">(.*?)</a>', contents) == listed
    assert re.findall('<a id="(section-[0-9])"></a><h2>(.*?)</h2>', page) == listed
    assert page.count("<nav") == 1


def test_verdict_comes_first_then_the_summary_in_order(report):
    report.add([Section("Second")], ["Of the second."])
    report.judge("sharing", "not safe", is_good=False)
    report.judge("sharing", "safe", is_good=True)
    report.judge("quality", "not shown", is_good=None)
    page = report.render()
    parts = [
        "<h1>",
        "Verdict on sharing: safe",
        "Verdict on quality: not shown",
        "One &amp; two",
        "Of the second.",
        "<nav",
    ]
    assert order(page, *parts, "<h2>Second</h2>", "not safe") == [*parts, "<h2>Second</h2>"]
    assert '<p class="verdict good">' in page and '<p class="verdict open">' in page


def test_a_page_without_summary_or_settings_has_no_list_of_them():
    page = Report("A").render()
    assert "In short" not in page and "Settings" not in page


def test_metrics_stand_with_interval_and_counts(page):
    row = "<td>0.500</td><td>-0.250 to 0.750</td><td>9 real, 7 generated</td><td>95%, exact</td>"
    assert row in page
    assert '<th scope="row">none</th><td>undetermined</td>' in page


def test_a_table_of_text_has_its_headings():
    report = Report("A")
    report.add([Section("B", [Table(["name", "value"], [["a", "1"]])])])
    page = report.render()
    assert '<thead><tr><th scope="col">name</th><th scope="col">value</th></tr></thead>' in page
    assert '<tbody><tr><th scope="row">a</th><td>1</td></tr></tbody>' in page


def test_report_is_written(report, tmp_path):
    report.write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report.render()
