# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.data.requests.generation_requests import request_batches
from medti_components.data.requests.interpolation_requests import InterpolationRequests
from medti_components.errors import ConfigError


def test_every_weight_comes_with_the_same_seeds():
    requests = InterpolationRequests(["<healthy>", "<ill>"], num_images=2, seed=3)
    assert [item["interpolation_weight"] for item in requests] == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1]
    assert [item["seed"] for item in requests] == [3, 4] * 5
    assert requests.prompts[1] == "<healthy> :0.75 AND <ill> :0.25"
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
