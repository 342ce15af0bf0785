# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.data.requests.generation_requests import (
    GenerationRequests,
    InterpolationRequests,
    distinct_names,
    request_batches,
)
from medti_components.errors import ConfigError, PromptError


def texts(requests):
    return [prompt.text for prompt in requests.prompts]


def test_without_a_prompt_each_word_is_one():
    requests = GenerationRequests(["<a>", "<b>"], num_images=2, seed=5)
    assert [(item["prompt"].text, item["seed"]) for item in requests] == [
        ("<a>", 5),
        ("<a>", 6),
        ("<b>", 5),
        ("<b>", 6),
    ]
    assert [item["prompt_index"] for item in requests] == [0, 0, 1, 1]
    assert len(requests) == 4
    assert texts(requests) == ["<a>", "<b>"]


def test_a_prompt_is_the_only_one():
    assert texts(GenerationRequests(["<a>", "<b>"], 1, 0, prompt="large <b>")) == ["large <b>"]
    assert texts(GenerationRequests(["<a>"], 1, 0, prompt="")) == [""]


def test_prompt_file_has_one_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("<a>, left\n\n  grade #2 <b>  \n", encoding="utf-8-sig")
    assert texts(GenerationRequests(["<a>"], 1, 0, prompt_file=path)) == ["<a>, left", "grade #2 <b>"]


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.csv"])
def test_syntax_of_other_tools_in_a_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("prompt\n(<a>:1.3)\n")
    with pytest.raises(PromptError, match="parentheses give no weight here"):
        GenerationRequests(["<a>"], 1, 0, prompt_file=path)


def test_bad_prompt_files_are_named(tmp_path):
    path = tmp_path / "prompts.txt"
    with pytest.raises(ConfigError, match=r"prompt_file '.*prompts.txt' can't be read \(No such file or directory\)"):
        GenerationRequests(["<a>"], 1, 0, prompt_file=path)
    path.write_text("\n\n")
    with pytest.raises(ConfigError, match="must hold at least one prompt, one a line, got none"):
        GenerationRequests(["<a>"], 1, 0, prompt_file=path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="must be UTF-8 text"):
        GenerationRequests(["<a>"], 1, 0, prompt_file=path)


def test_prompt_and_prompt_file_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="prompt and prompt_file must not both be given"):
        GenerationRequests(["<a>"], 1, 0, prompt="<a>", prompt_file=tmp_path / "prompts.txt")


def test_prompt_that_the_command_line_turned_into_something_else_is_refused():
    with pytest.raises(ConfigError, match=r"prompt must be text, got \('effusion', 'frontal'\)"):
        GenerationRequests(["<a>"], 1, 0, prompt=("effusion", "frontal"))  # type: ignore[arg-type]


def test_prompts_may_be_a_list_and_structured():
    requests = GenerationRequests([], 1, 0, prompt=["<a> :0.5 AND <b>", {"<a>": 0.5, "<b>": -1}])
    assert texts(requests) == ["<a> :0.5 AND <b>", "<a> :0.5 AND <b> :-1"]
    assert [item["name"] for item in requests] == ["a_0_5_AND_b_0", "a_0_5_AND_b_1_0"]


def test_a_table_gives_seeds_and_counts(tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text('prompt,seed,count\n"<a>, left",5,2\n<b>,,\n')
    requests = GenerationRequests([], num_images=1, seed=9, prompt_file=path)
    assert [(item["prompt"].text, item["seed"]) for item in requests] == [
        ("<a>, left", 5),
        ("<a>, left", 6),
        ("<b>", 9),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\n<a>\n", "must have the columns prompt and where wanted seed and count, got text"),
        ("prompt,seed\n<a>,-1\n", r"line 2: seed must be a whole number of at least 0, got '-1'"),
        ("prompt,count\n<a>,0\n", r"line 2: count must be a whole number of at least 1, got '0'"),
        ("prompt\n", "must hold at least one prompt"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, message):
    path = tmp_path / "prompts.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        GenerationRequests([], 1, 0, prompt_file=path)


def test_a_prompt_that_cannot_be_read_is_refused_at_once():
    with pytest.raises(PromptError, match="a part must have a text"):
        GenerationRequests([], 1, 0, prompt="<a> AND")


def test_prompts_of_different_numbers_of_parts_are_batched_apart():
    requests = GenerationRequests([], 2, 0, prompt=["<a>", "<a> AND <b>", "<b> :2 AND <a> :0"])
    assert [batch["name"] for batch in request_batches(requests, batch_size=8)] == [
        ["a_0", "a_1"],
        ["a_AND_b_0", "a_AND_b_1"],
        ["b_2_AND_a_0_0", "b_2_AND_a_0_1"],
    ]


def test_batches_reach_from_one_prompt_into_the_next():
    batches = list(request_batches(GenerationRequests(["<a>", "<b>"], num_images=3, seed=0), batch_size=4))
    assert [batch["name"] for batch in batches] == [["a_0", "a_1", "a_2", "b_0"], ["b_1", "b_2"]]
    assert batches[0]["seed"].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("size", [0, 1.5, True])
def test_batch_size_must_be_positive(size):
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1, got"):
        request_batches(GenerationRequests(["<a>"], 1, 0), size)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_number_of_images_must_be_positive(count):
    with pytest.raises(ConfigError, match="num_images must be a whole number of at least 1"):
        GenerationRequests(["<a>"], count, 0)


@pytest.mark.parametrize("seed", [-1, 2**63, "x", 0.5])
def test_seed_must_fit_a_generator(seed):
    with pytest.raises(ConfigError, match="seed must be a whole number of at least 0 and below 2"):
        GenerationRequests(["<a>"], 1, seed)


def test_names_are_distinct_even_where_case_does_not_count():
    assert distinct_names(["<A>", "<a>", "a!"]) == ["A", "a-2", "a-3"]
    assert len(distinct_names(["x" * 500])[0]) == 80


def test_every_weight_comes_with_the_same_seeds():
    requests = InterpolationRequests(["<healthy>", "<ill>"], num_images=2, seed=3)
    assert [item["interpolation_weight"] for item in requests] == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]
    assert [item["seed"] for item in requests] == [3, 4] * 5
    assert texts(requests)[1] == "<healthy> :0.75 AND <ill> :0.25"
    assert len({item["name"] for item in requests}) == 10


def test_the_ends_are_batched_apart_as_they_have_one_part():
    requests = InterpolationRequests(["<healthy>", "<ill>"], num_images=2, seed=0)
    assert [len(batch["seed"]) for batch in request_batches(requests, batch_size=6)] == [2, 6, 2]


@pytest.mark.parametrize("concepts", ["<a>", ["<a>"], ["<a>", "<b>", "<c>"]])
def test_two_concepts_are_needed(concepts):
    with pytest.raises(ConfigError, match="concepts must name two concepts to interpolate between, got"):
        InterpolationRequests(concepts, 1, 0)


@pytest.mark.parametrize("weights", [[], "x", [0, "1"], [True]])
def test_weights_must_be_numbers(weights):
    with pytest.raises(ConfigError, match="interpolation_weights must be a list of numbers"):
        InterpolationRequests(["<a>", "<b>"], 1, 0, weights=weights)
