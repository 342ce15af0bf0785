# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from medti_components.base_model.captioned_scenes import draw_captioned_scenes
from medti_components.base_model.scene_dataset import HELD_OUT_FIRST, WORDS, SceneWords
from medti_components.errors import ConfigError


def test_labels_are_the_caption_s_words():
    scenes, words = draw_captioned_scenes(0, 20), SceneWords(20, show_progress=False)
    assert torch.equal(words.images, scenes.images)
    for index, caption in enumerate(scenes.captions):
        named = {word for word, value in zip(WORDS, words[index]["label"], strict=True) if value}
        assert named == set(caption.split()) - {"at", "the", "of", "on", "with", "ground", ","}


def test_words_are_told_once():
    assert len(set(WORDS)) == len(WORDS)


def test_held_out_scenes_are_others():
    held_out = SceneWords(3, is_held_out=True, show_progress=False)
    assert torch.equal(held_out.images, draw_captioned_scenes(HELD_OUT_FIRST, 3).images)


def test_needs_a_scene():
    with pytest.raises(ConfigError, match="^num_scenes must be 1 or more, got 0$"):
        SceneWords(0)
