# SPDX-License-Identifier: Apache-2.0
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, Lambda, RandGaussianNoise, Resize, ScaleIntensity, Spacing

from medti_components.data.prepared_images import transform_fingerprint


def test_every_setting_counts():
    variants = [
        Compose([ScaleIntensity(0.0, 1.0), Spacing((3.0, 0.5, 0.5))]),
        Compose([ScaleIntensity(0.0, 2.0), Spacing((3.0, 0.5, 0.5))]),
        Compose([ScaleIntensity(0.0, 1.0), Spacing((3.0, 0.5, 0.6))]),
        Compose([Spacing((3.0, 0.5, 0.5)), ScaleIntensity(0.0, 1.0)]),
        Compose([ScaleIntensity(0.0, 1.0)]),
        Compose([Lambda(lambda image: image + 1)]),
        Compose([Lambda(lambda image: image + 2)]),
    ]
    assert len({transform_fingerprint(variant) for variant in variants}) == len(variants)


def test_using_a_transform_does_not_change_it():
    transform = Compose([ScaleIntensity(0.0, 1.0), Resize((4, 4))])
    before = transform_fingerprint(transform)
    transform(torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert transform_fingerprint(transform) == before


def test_the_state_of_random_generators_does_not_count():
    first, second = RandGaussianNoise(0.5), RandGaussianNoise(0.5)
    second.set_random_state(seed=7)
    assert transform_fingerprint(first) == transform_fingerprint(second)


def test_plain_values_are_told_apart():
    values = [
        1, 1.5, "1", None, b"1", [1], {"a": 1}, {"a": 2}, {1, 2}, np.ones(2), np.ones(3), torch.zeros(2),
        np.dtype("f4"), Path("/a"), Path, partial, torch.float32,
    ]  # fmt: skip
    assert len({transform_fingerprint(value) for value in values}) == len(values)


def test_cycles_end():
    class Node:
        def __init__(self) -> None:
            self.own = self

    assert transform_fingerprint(Node()) == transform_fingerprint(Node())
