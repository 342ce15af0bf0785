# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.errors import DataError
from medti_components.metrics.prompt_fidelity import DetectionRate


def test_an_image_counts_when_all_that_was_asked_for_is_seen():
    probabilities = torch.tensor([[0.6, 0.9], [0.6, 0.1], [0.5, 0.0], [0.4, 1.0]])
    wanted = torch.tensor([[True, True], [True, True], [True, False], [True, False]])
    rate = DetectionRate()(probabilities, wanted)
    assert rate.value == 0.5 and rate.counts == {"images": 4}
    assert DetectionRate(threshold=0.4)(probabilities, wanted).value == 0.75


def test_the_interval_is_wilsons():
    # Wilson's interval of 8 of 10 at z = 1.96: (8 + z²/2 ± z sqrt(8 * 2 / 10 + z²/4)) / (10 + z²)
    rate = DetectionRate().of_outcomes(torch.tensor([True] * 8 + [False] * 2))
    assert rate.low == pytest.approx(0.4902, abs=1e-3)
    assert rate.high == pytest.approx(0.9433, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "wanted", "message"),
    [
        ((0, 2), torch.ones(0, 2, dtype=torch.bool), r"shape \(n, findings\) with n >= 1"),
        ((2, 2), torch.ones(2, 3, dtype=torch.bool), r"got \(2, 2\) and \(2, 3\)"),
        ((1, 2), torch.zeros(1, 2, dtype=torch.bool), "every image must be asked for at least one finding"),
    ],
)
def test_what_cannot_be_counted_is_refused(shape, wanted, message):
    with pytest.raises(DataError, match=message):
        DetectionRate()(torch.zeros(shape), wanted)
