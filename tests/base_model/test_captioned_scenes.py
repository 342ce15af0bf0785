# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from medti_components.base_model.caption_tokenizer import build_caption_tokenizer
from medti_components.base_model.captioned_scenes import COLOUR_NAMES, MAX_WORDS, draw_captioned_scenes
from medti_components.base_model.scene_dataset import SceneDataset
from medti_components.base_model.scene_renderer import SHAPES, SceneParameters, render_scenes


def test_a_scene_depends_on_its_number_and_seed_alone():
    many, one = draw_captioned_scenes(0, 6, image_size=16), draw_captioned_scenes(4, 1, image_size=16)
    assert many.captions[4] == one.captions[0]
    other = draw_captioned_scenes(0, 6, image_size=16, seed=1)
    assert many.captions != other.captions


def test_captions_fit_the_text_encoder_and_vary():
    captions = draw_captioned_scenes(0, 300, image_size=8, is_rich=True).captions
    lengths = [len(caption.split()) for caption in captions]
    assert max(lengths) <= MAX_WORDS
    assert min(lengths) < 8 and max(lengths) > 40


def test_words_of_captions_say_what_is_drawn():
    words = {
        word
        for caption in draw_captioned_scenes(0, 400, image_size=8, is_rich=True).captions
        for word in caption.split()
    }
    assert set(SHAPES) <= words
    assert set(COLOUR_NAMES) <= words


def test_some_captions_leave_the_place_open():
    captions = draw_captioned_scenes(0, 1500, image_size=8, is_rich=True).captions
    lone = [caption for caption in captions if not any(word in caption for word in (",", "pair", "inside"))]
    objects = [
        caption.split(" on ")[0].split() for caption in lone if not caption.endswith("ground") or " on " in caption
    ]
    num_words = [len(words) - words.index("at") - 2 if "at" in words else 0 for words in objects]
    shares = [num_words.count(number) / len(num_words) for number in range(3)]
    # half of the captions have row and column, the others each of the two in 40 %
    expected = [0.5 * 0.6**2, 0.5 * 2 * 0.6 * 0.4, 0.5 + 0.5 * 0.4**2]
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / len(num_words)))


def _one_disc(colour: tuple[float, float, float]) -> SceneParameters:
    scene = SceneParameters.empty(1, 2)
    scene.count[:] = 1
    scene.centre[0, 0] = (0.25, 0.5)
    scene.radii[0, 0] = 0.2
    scene.colour[0, 0] = colour
    scene.edge[0, 0] = 0.001
    scene.opacity[0, 0] = 1.0
    return scene


def test_a_disc_covers_its_area_at_its_place():
    image = render_scenes(_one_disc((1.0, 0.0, 0.0)), 64, torch.Generator().manual_seed(0))[0].float() / 255
    assert abs(image[0].mean().item() - np.pi * 0.2**2) < 0.003
    assert image[1:].max() == 0
    columns = image[0].sum(0)
    centre = (columns * (torch.arange(64) + 0.5)).sum() / columns.sum() / 64
    assert abs(centre.item() - 0.25) < 0.002


def test_a_negative_radius_mirrors_an_object():
    scene = _one_disc((1.0, 1.0, 1.0))
    scene.shape[0, 0] = SHAPES.index("crescent")
    scene.centre[0, 0] = (0.5, 0.5)
    scene.radii[0, 0] = (0.3, 0.2)
    scene.angle[0, 0] = 0.6
    image = render_scenes(scene, 64, torch.Generator().manual_seed(0))
    scene.radii[0, 0, 0] *= -1
    scene.angle[0, 0] *= -1
    mirrored = render_scenes(scene, 64, torch.Generator().manual_seed(0))
    assert torch.equal(mirrored, image.flip(-1))
    assert not torch.equal(mirrored, image)


def test_a_third_of_the_scenes_with_objects_have_parts_in_a_body():
    captions = draw_captioned_scenes(0, 1000, image_size=8, is_rich=True).captions
    with_parts = sum(
        "pair of" in caption.partition(" with ")[2] or caption.count(" inside") > 1 for caption in captions
    )
    assert 0.2 < with_parts / len(captions) < 0.35


def test_every_caption_word_is_one_token_and_other_text_falls_apart_into_bytes():
    captions = draw_captioned_scenes(0, 50, image_size=8, is_rich=True).captions
    tokenizer = build_caption_tokenizer(captions)
    for caption in captions:
        assert len(tokenizer.tokenize(caption)) == len(caption.split())
    pieces = tokenizer.tokenize("zyxwvut")
    assert "".join(pieces) == "zyxwvut</w>"
    assert tokenizer.unk_token_id not in tokenizer("zyxwvut").input_ids[1:-1]


def test_held_out_scenes_are_not_trained_on():
    scenes = SceneDataset(num_scenes=20, image_size=16, num_held_out=4, show_progress=False)
    assert scenes.images.shape == (20, 3, 16, 16) and scenes.input_ids.shape == (20, 77)
    trained = {image.numpy().tobytes() for image in scenes.images}
    assert not any(image.numpy().tobytes() in trained for image in scenes.held_out_images)


def test_a_rim_lies_inside_the_edge_in_its_own_colour():
    scene = _one_disc((1.0, 0.0, 0.0))
    scene.rim[0, 0], scene.rim_colour[0, 0] = 0.05, (0.0, 1.0, 0.0)
    red, green, blue = render_scenes(scene, 64, torch.Generator().manual_seed(0))[0].float() / 255
    assert abs(red.mean().item() - np.pi * 0.15**2) < 0.003
    assert abs(green.mean().item() - np.pi * (0.2**2 - 0.15**2)) < 0.003
    assert blue.max() == 0


def test_a_spot_fades_from_its_opacity_at_the_middle():
    scene = _one_disc((1.0, 1.0, 1.0))
    scene.shape[0, 0], scene.opacity[0, 0] = SHAPES.index("spot"), 0.3
    image = render_scenes(scene, 65, torch.Generator().manual_seed(0))[0, 0].float() / 255
    assert abs(image.max().item() - 0.3) < 0.01
    # exp(-1.4 (r / radius) ** 2) has the volume pi radius ** 2 / 1.4
    assert abs(image.mean().item() - 0.3 * np.pi * 0.2**2 / 1.4) < 0.002


def test_half_of_the_scenes_are_grey():
    images = draw_captioned_scenes(0, 400, image_size=16, is_rich=True).images.float()
    is_grey = (images.amax(1) - images.amin(1)).flatten(1).mean(1) < 16
    assert 0.4 < float(is_grey.float().mean()) < 0.6


def test_scenes_that_are_not_rich_stay_what_the_feature_network_learned_from():
    first, second = draw_captioned_scenes(0, 2, image_size=8).captions
    assert first == "grainy black ground"
    assert second == (
        "plain cream ground , huge faint grainy cyan dome , inner pair of falling long brown triangle , "
        "large cloudy black ring at the left"
    )
    words = {word for caption in draw_captioned_scenes(0, 400, image_size=8).captions for word in caption.split()}
    assert not words & {"spot", "line", "band", "speckled", "pebbled", "wavy", "dim", "rimmed", "shaded"}
