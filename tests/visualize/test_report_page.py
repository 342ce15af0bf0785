# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch
from report_pages import active_content, alternative_texts, outside_references

from medti_components.metrics.interval_estimate import IntervalEstimate
from medti_components.visualize.report_page import (
    FURTHER_SECTIONS,
    add_sections,
    add_verdict,
    figures_table,
    grid_png,
    picture,
    report_page,
    settings_table,
)

FIGURE = IntervalEstimate(0.5, -0.25, 0.75, {"real": 9, "generated": 7}, "exact")


def order(page, *texts):
    """Return the texts in the order in which they stand in the page, each as often as it is there."""
    return re.findall("|".join(map(re.escape, texts)), page)


@pytest.fixture
def page():
    parts = ["<h2>First</h2>", figures_table([("<b>", FIGURE), ("none", None)], "share"), FURTHER_SECTIONS]
    pictures = [picture(grid_png([torch.zeros(2, 4, 4)]), 'a "quoted" <caption>')]
    return report_page(
        "A & B", [*parts, "<h2>Last</h2>", *pictures, settings_table({"a": "<i>"})], summary=["One & two"]
    )


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
    assert "<h1>A &amp; B</h1>" in page and "<li>One &amp; two</li>" in page
    assert "&lt;b&gt;" in page and "<b>" not in page and "<i>" not in page
    assert alternative_texts(page) == ['a "quoted" <caption>']


def test_contents_list_the_sections_of_parts_added_later(page):
    page = add_sections(page, ["<h2>Second</h2>"])
    page = add_sections(page, ["<h2>Third <em>one</em></h2>"])
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    assert re.findall('href="#(section-[0-9])">(.*?)</a>', contents) == [
        ("section-1", "First"),
        ("section-2", "Second"),
        ("section-3", "Third <em>one</em>"),
        ("section-4", "Last"),
    ]
    assert re.findall('<a id="(section-[0-9])"></a><h2>(.*?)</h2>', page)[2] == ("section-3", "Third <em>one</em>")
    assert page.count("<nav") == 1


def test_verdict_comes_first_then_the_summary_in_order(page):
    page = add_sections(page, ["<h2>Second</h2>"], "Of the second.")
    page = add_verdict(add_verdict(page, "not safe to share", is_good=False), "safe to share", is_good=True)
    assert order(
        page, "<h1>", "Verdict: safe", "One &amp; two", "Of the second.", "<nav", "<h2>Second</h2>", "not safe"
    ) == [
        "<h1>",
        "Verdict: safe",
        "One &amp; two",
        "Of the second.",
        "<nav",
        "<h2>Second</h2>",
    ]


def test_a_page_without_summary_has_no_list_of_it():
    assert "In short" not in report_page("A", [])
    assert "In short" in add_sections(report_page("A", [FURTHER_SECTIONS]), [], "Said.")


def test_figures_stand_with_interval_and_counts(page):
    row = "<td>0.500</td><td>-0.250 to 0.750</td><td>9 real, 7 generated</td><td>95%, exact</td>"
    assert row in page
    assert '<th scope="row">none</th><td>undetermined</td>' in page
