# SPDX-License-Identifier: Apache-2.0
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
        ("0.5*<a> :2", "a part must have one weight, before it or behind it, got two", 9),
    ],
)
def test_a_fault_is_shown_with_a_caret_under_it(prompt, message, position):
    with pytest.raises(PromptError) as caught:
        parse_prompt(prompt)
    first, shown, caret = str(caught.value).split("\n")
    assert (first, shown, caret) == (message, f"  {prompt.rstrip()}", f"  {' ' * position}^")


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
