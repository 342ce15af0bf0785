# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from medti_components.errors import PromptError
from medti_components.inferers.prompt_composition import parse_prompt


def parts(prompt):
    return [(part.text, part.weight) for part in parse_prompt(prompt).parts]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<a>", [("<a>", 1.0)]),
        ("<a> :0.5 AND <b> :-1.25", [("<a>", 0.5), ("<b>", -1.25)]),
        ("0.25*<a> AND 0.75 * <b>", [("<a>", 0.25), ("<b>", 0.75)]),
        ("<a>\n:.5  AND  frontal <b>", [("<a>", 0.5), ("frontal <b>", 1.0)]),
        ("<a> AND NOT <b> :0.5", [("<a>", 1.0), ("<b>", -0.5)]),
        ("<a> :+2", [("<a>", 2.0)]),
        ("<a>:0.5 AND <b>:0.5", [("<a>", 0.5), ("<b>", 0.5)]),
        ("<a>: 2 AND <b> : -.5", [("<a>", 2.0), ("<b>", -0.5)]),
        ("soft <b>:1 AND blurry:0.5 AND grain: -2", [("soft <b>", 1.0), ("blurry", 0.5), ("grain", -2.0)]),
        ("<a> * 0.5 AND <b>*.25 AND dark lungs * 2", [("<a>", 0.5), ("<b>", 0.25), ("dark lungs", 2.0)]),
        ("0.5 * T2*-weighted <a>", [("T2*-weighted <a>", 0.5)]),
        ("T2*-weighted <a>:0.5", [("T2*-weighted <a>", 0.5)]),
        ("T2* <a>", [("T2* <a>", 1.0)]),
        ("H&E section (axial, 5 um), HER2 2+, <a>-like", [("H&E section (axial, 5 um), HER2 2+, <a>-like", 1.0)]),
        ("salt and pepper, SANDY", [("salt and pepper, SANDY", 1.0)]),
        ("view: lateral", [("view: lateral", 1.0)]),
        ("NOTCH <a>", [("NOTCH <a>", 1.0)]),
        ("", [("", 1.0)]),
        ({"<a>": 0.5, "soft <b>": -1}, [("<a>", 0.5), ("soft <b>", -1.0)]),
    ],
)
def test_prompts_are_read_as_texts_and_weights(prompt, expected):
    assert parts(prompt) == expected


@pytest.mark.parametrize("prompt", ["<a>", "<a> :0.5", "0.1*<a> AND <b> :1e-3 AND NOT <c>", "x :0"])
def test_a_prompt_as_text_reads_back_as_the_same(prompt):
    read = parse_prompt(prompt)
    assert parse_prompt(str(read)) == read


@pytest.mark.parametrize(
    ("prompt", "message", "position"),
    [
        ("<a> AND ", "a part must have a text", 8),
        ("AND <a>", "a part must have a text", 0),
        ("<a> AND :0.5", "a part must have a text", 8),
        ("<a> :o.5", "a weight must be a decimal number, got 'o.5'", 5),
        ("<a> :", "a weight must be a decimal number, got ''", 5),
        ("<a> :inf AND <b>", "a weight must be a decimal number, got 'inf'", 5),
        ("x1*<a>", "a weight must be a decimal number, got 'x1'", 0),
        ("<a>:0,5", "a weight must be a decimal number, got '0,5'", 4),
        ("0.5*<a> :2", "a part must have one weight, before it or behind it, got two", 9),
    ],
)
def test_a_fault_is_shown_with_a_caret_under_it(prompt, message, position):
    with pytest.raises(PromptError) as caught:
        parse_prompt(prompt)
    first, shown, caret = str(caught.value).split("\n")
    assert (first, shown, caret) == (message, f"  {prompt.rstrip()}", f"  {' ' * position}^")


@pytest.mark.parametrize(
    ("prompt", "position", "spelling"),
    [
        ("(<a>:1.3)", 0, "<a> :1.3"),
        ("((blurry)) <a>", 0, "<a> :1.3"),
        ("<b> AND (soft <a>)", 8, "<a> :1.3"),
        ("(soft)1.2", 0, "<a> :1.3"),
        ("[<a>|<b>]", 0, "<a> :0.5 AND <b> :0.5"),
        ("[<a>:<b>:0.5]", 0, "<a> :0.5 AND <b> :0.5"),
        ("{<a>}", 0, "<a> :0.5 AND <b> :0.5"),
        ("<a> | <b>", 4, "<a> :0.5 AND <b> :0.5"),
        ("<a> + <b>", 4, "<a> :0.5 AND <b> :0.5"),
        ("<a> BREAK <b>", 4, "<a> :0.5 AND <b> :0.5"),
        ("(soft, dark).blend(0.5, 0.5)", 11, "<a> :0.5 AND <b> :0.5"),
        ("<a>++", 3, "<a> :1.1"),
        ("<a> blurry--", 10, "<a> :1.1"),
        ("<a>::2", 3, "<a> :2"),
        ("<a> --no blurry", 4, "--negative_prompt"),
        (r"\(axial\)", 0, "leave it out"),
        ("__side__ <a>", 0, "--prompt_file"),
        ("<a>:0.5, blurry", 3, "join parts by AND"),
        ("<a>:0.5 <b>:0.5", 3, "join parts by AND"),
        ("<a> NOT <b>", 4, "write AND NOT before it"),
        ("<a> and 0.5*<b>", 11, "0.5*<a> or <a> :0.5"),
        ("<a> * soft", 4, "0.5*<a> or <a> :0.5"),
        ("healthy* 0.5", 7, "0.5*<a> or <a> :0.5"),
        ("0.5 <a>", 0, "0.5*<a> or <a> :0.5"),
        ("<a> 0.5", 4, "0.5*<a> or <a> :0.5"),
        ("PI-RADS: 5", 7, "write ' :2' for one"),
        ("ratio 1:2", 7, "write ' :2' for one"),
    ],
)
def test_syntax_of_other_tools_is_an_error_that_shows_our_spelling(prompt, position, spelling):
    with pytest.raises(PromptError) as caught:
        parse_prompt(prompt)
    assert spelling in caught.value.message
    assert caught.value.position == position
    if "AND" not in prompt:
        with pytest.raises(PromptError, match=re.escape(caught.value.message)):
            parse_prompt({prompt: 1.0})


@pytest.mark.parametrize("text", ["<a>:0.5", "0.5*<a>", "<a> * 2", "NOT <a>", "<a> :1.5"])
def test_a_text_with_a_weight_of_its_own_has_no_place_in_a_structured_prompt(text):
    with pytest.raises(PromptError, match="must not hold a weight: give it as the text's value"):
        parse_prompt({text: 0.5})


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "at least one text and its weight"),
        ({"<a>": "much"}, r"the weight of '<a>' must be a finite number, got 'much'"),
        ({"<a> AND <b>": 1}, "must not hold AND"),
        (5, "prompt must be text or an object of texts and weights, got int"),
    ],
)
def test_a_structured_prompt_is_checked(prompt, message):
    with pytest.raises(PromptError, match=message):
        parse_prompt(prompt)
