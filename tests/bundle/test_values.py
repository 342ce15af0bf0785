# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from medti_components.bundle.values import fitting_value, typed_values
from medti_components.errors import ConfigError


@pytest.mark.parametrize(
    ("key", "value", "default", "expected"),
    [
        ("resume", "true", False, True),
        ("resume", "False", True, False),
        ("resume", True, False, True),
        ("max_steps", 3, 10, 3),
        ("learning_rate", 1, 0.005, 1.0),
        ("concepts", ("<a>", "<b>"), ["<c>"], ["<a>", "<b>"]),
        ("output_dir", Path("a") / "b", "output", "a/b"),
        ("output_dir", "a", "$@bundle_root + '/output'", "a"),
        ("prompt", "$@other", "", "$@other"),
        ("max_steps", "@other", 10, "@other"),
        ("cache_dir", None, "cache", None),
        ("anything", {"a": 1}, None, {"a": 1}),
        ("device", torch.device("cpu"), "$torch.device('cuda')", torch.device("cpu")),
        ("device", "cpu", "$torch.device('cuda')", "cpu"),
    ],
)
def test_values_of_the_right_kind_pass(key, value, default, expected):
    fitting = fitting_value(key, value, default)
    assert fitting == expected
    assert type(fitting) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "default", "message"),
    [
        ("resume", "yes", False, "resume must be true or false, got 'yes'"),
        ("resume", 1, False, "resume must be true or false, got 1"),
        ("max_steps", "x", 10, "max_steps must be a whole number, got 'x'"),
        ("max_steps", True, 10, "max_steps must be a whole number, got True"),
        ("max_steps", 1e3, 10, "max_steps must be a whole number, got 1000.0: write 1000"),
        ("max_steps", -1, 10, "max_steps must not be negative, got -1"),
        ("learning_rate", "fast", 0.1, "learning_rate must be a number, got 'fast'"),
        ("learning_rate", float("nan"), 0.1, "learning_rate must be a number, got nan"),
        ("concepts", "<a>", ["<c>"], "concepts must be a list, got '<a>': write --concepts \"['first', 'second']\""),
        ("output_dir", 5, "output", "output_dir must be text, got 5: put it in quotes"),
        ("device", "gpu", "cpu", "device must be 'cpu', 'cuda' or 'cuda:<number>', got 'gpu'"),
    ],
)
def test_values_of_another_kind_are_refused(key, value, default, message):
    with pytest.raises(ConfigError) as caught:
        fitting_value(key, value, default)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "typed", "kinds", "expected"),
    [
        (["<a>", {"<b>": 0.5}], None, ("string", "array", "null"), ["<a>", {"<b>": 0.5}]),
        ({"<a>": 0.5}, None, ("string", "object"), {"<a>": 0.5}),
        (("a", "b"), "a, b", ("string", "array"), "a, b"),
        ((0.3, 5.4), None, ("array", "null"), [0.3, 5.4]),
        (5, "5", ("string",), "5"),
        (5, "5", ("integer", "null"), 5),
        (torch.device("cpu"), None, ("string",), torch.device("cpu")),
    ],
)
def test_a_schema_tells_the_kind_where_the_config_leaves_it_open(value, typed, kinds, expected):
    assert fitting_value("key", value, None, typed=typed, kinds=kinds) == expected


def test_texts_of_a_structured_prompt_must_be_text():
    with pytest.raises(ConfigError, match=r"^prompt must be text, got 5: put it in quotes$"):
        fitting_value("prompt", ["<a>", 5], None, kinds=("string", "array"))


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not there \(\d+ GPUs found\): give --device cpu"):
        fitting_value("device", "cuda:99", "cpu")


@pytest.mark.parametrize(
    ("value", "typed", "expected"),
    [
        (("effusion", "frontal"), "effusion, frontal", "effusion, frontal"),
        ({"token"}, "{token}", "{token}"),
        (5, "5", "5"),
        ("effusion, frontal", "'effusion, frontal'", "effusion, frontal"),
        ("<a> :0.25 AND <b> :0.75", "<a> :0.25 AND <b> :0.75", "<a> :0.25 AND <b> :0.75"),
    ],
)
def test_text_is_taken_as_it_was_typed(value, typed, expected):
    assert fitting_value("prompt", value, "", typed=typed) == expected


def test_a_hash_sign_in_text_is_refused_with_a_way_out():
    with pytest.raises(ConfigError, match=r"prompt must not contain '#'.*got 'grade #2': .*--prompt_file"):
        fitting_value("prompt", "grade", "", typed="grade #2")
    with pytest.raises(ConfigError, match="output_dir must not contain '#'.*choose a name without it"):
        fitting_value("output_dir", "run#2", "output")


def test_typed_values_of_flags_and_of_both_forms():
    typed = typed_values(["run", "--resume", "--seed=-1", "--learning-rate", "0.1", "--last"])
    assert typed == {"seed": "-1", "learning_rate": "0.1"}
