# SPDX-License-Identifier: Apache-2.0
import re

import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.kernel_inception_distance import FeatureScale


def test_own_features_get_zero_mean_and_unit_mean_variance() -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0, 0.0]) + 5
    scaled = FeatureScale.of(features)(features)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    assert float(scaled.var(0).mean()) == pytest.approx(1, rel=1e-5)


def test_result_does_not_depend_on_the_size_of_the_features() -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(FeatureScale.of(7 * features + 3)(7 * other + 3), FeatureScale.of(features)(other))


def test_features_without_any_difference_are_refused() -> None:
    message = "features must differ between images, got one value for all: train the classifier for longer"
    with pytest.raises(DataError, match="^" + re.escape(message) + "$"):
        FeatureScale.of(torch.ones(5, 3))
