# SPDX-License-Identifier: Apache-2.0
import math
import re

import pytest
import torch

from medti_components.errors import ConfigError, DataError
from medti_components.metrics.nearest_source import TailThreshold


@pytest.mark.parametrize("rate", [0.01, 0.001])
def test_rarely_more_of_a_population_is_above_than_stated(rate):
    """Maxima of ten exponential variables, as closeness is: P(above t) = 1 - (1 - exp(-t)) ** 10."""
    stream = torch.Generator().manual_seed(0)
    above = []
    for _ in range(200):
        sample = (-torch.rand(200, 10, generator=stream).log()).amax(dim=1)
        threshold = TailThreshold.of(sample, rate)
        assert threshold.num_values == len(sample)
        above.append(1 - (1 - math.exp(-threshold.value)) ** 10)
    assert sum(share <= rate for share in above) >= 0.9 * 200
    assert sorted(above)[100] > rate / 10


def test_values_that_are_all_equal_are_the_threshold_themselves():
    assert TailThreshold.of(torch.ones(50), 0.01).value == 1


@pytest.mark.parametrize("rate", [0.0, 0.2, -1.0])
def test_rate_out_of_range(rate):
    message = f"the rate of a threshold must be in (0, 0.2), got {rate}"
    with pytest.raises(ConfigError, match="^" + re.escape(message) + "$"):
        TailThreshold.of(torch.rand(50), rate)


def test_too_few_values():
    message = (
        "copies must be told from at least 20 real images, held-out and training ones together, got 19: "
        "raise --num_test_cases, or take '@copies' out of parts"
    )
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        TailThreshold.of(torch.rand(19), 0.01)
