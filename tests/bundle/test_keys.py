# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.bundle.error_line import nearest
from medti_components.bundle.keys import check_key, check_overlay
from medti_components.errors import ConfigError

CONFIG = {
    "max_steps": 10,
    "train": {
        "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 1},
        "handlers": [{"_target_": "medti_components.errors.ConfigError"}, {"interval": 5}],
    },
    "macro": "%elsewhere::train",
}


@pytest.mark.parametrize(
    "key",
    [
        "max_steps",
        "train::trainer::max_epochs",
        "train#trainer#max_epochs",
        "train::handlers::1::interval",
        "+train::handlers",
        "macro::trainer",
        "train::trainer::amp",  # an argument of SupervisedTrainer that the config leaves at its default
        "train::trainer::_disabled_",
    ],
)
def test_known_keys_pass(key):
    check_key(key, CONFIG)


@pytest.mark.parametrize(
    ("key", "rest"),
    [
        ("max_stps", "did you mean 'max_steps'?"),
        ("train::trianer", "did you mean 'train::trainer'?"),
        ("train::trainer::max_epocs", "did you mean 'train::trainer::max_epochs'?"),
        ("train#trainer#ampp", "did you mean 'train::trainer::amp'?"),
        ("train::handlers::2", "'train::handlers' is a list of 2, its entries are 0 to 1, got '2'"),
        ("max_steps::low", "'max_steps' is a value and has no 'low'"),
        ("zzz", "known here: macro, max_steps, train"),
    ],
)
def test_unknown_key_names_the_nearest(key, rest):
    with pytest.raises(ConfigError) as caught:
        check_key(key, CONFIG)
    assert str(caught.value) == f"unknown key '{key}': {rest}"


def test_key_of_another_config_says_where_it_belongs():
    with pytest.raises(ConfigError, match="'num_images' belongs to inference.json, not to the config being run"):
        check_key("num_images", {"max_steps": 1}, {"inference.json": {"num_images": 1}, "train.json": {"max_steps": 1}})


def test_overlay_may_hold_keys_of_any_config_of_the_bundle():
    configs = {"train.json": CONFIG, "inference.json": {"sampler": {"steps": 100}}}
    check_overlay("fast.json", {"_desc_": "why", "sampler::steps": 20, "train#trainer#max_epochs": 2}, configs)


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"max_step": 1}, "fast.json: unknown key 'max_step': did you mean 'max_steps'?"),
        ({"sampler::step": 1}, "fast.json: unknown key 'sampler::step': did you mean 'sampler::steps'?"),
    ],
)
def test_overlay_with_an_unknown_key_is_named(overlay, message):
    configs = {"train.json": CONFIG, "inference.json": {"sampler": {"steps": 100}}}
    with pytest.raises(ConfigError) as caught:
        check_overlay("fast.json", overlay, configs)
    assert str(caught.value) == message


def test_nearest_prefers_the_closest_spelling():
    assert nearest("num_case", ["num_cases", "num_images", "seed"]) == "num_cases"
