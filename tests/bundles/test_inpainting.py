# SPDX-License-Identifier: Apache-2.0
"""Inpainting with the prostate bundle's own config on the micro base model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from configs_of_bundles import PROSTATE, REPOSITORY
from PIL import Image

import medti_components
from medti_components.networks.concept_embedding import ConceptEmbedding
from medti_components.networks.embedding_files.embedding_file import concept_name, save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

INFERENCE = [PROSTATE / "inference.json"]
EMBEDDED = [*INFERENCE, REPOSITORY / "configs" / "embedded.json"]
EMBEDDED_BASE = Path(medti_components.__file__).parents[1] / "bundles" / "tiny_latent_diffusion" / "models"
TOKENS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]
SEQUENCES = ["t2w", "adc", "hbv"]


def saved_words(model, folder):
    for token in TOKENS:
        rows = ConceptEmbedding.initialized(token, 8, model, seed=0).rows
        metadata = {"base_model": "micro", "base_model_sha256": model.fingerprint}
        save_embedding(folder / f"{concept_name(token)}.safetensors", token, rows, metadata)
    return folder


@pytest.fixture(scope="module")
def embeddings(micro_base, tmp_path_factory):
    return saved_words(FrozenLatentDiffusion.from_pretrained(str(micro_base)), tmp_path_factory.mktemp("embeddings"))


@pytest.fixture
def picture(tmp_path):
    """Pixels of a picture of 48 x 48 pixels, and its path."""
    pixels = np.random.default_rng(0).integers(60, 200, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    return pixels, tmp_path / "x.png"


@pytest.fixture
def inpainting(embeddings, micro_base, picture, tmp_path):
    """Keys that make inpainting a matter of a second."""
    return {
        "embeddings": embeddings,
        "output_dir": tmp_path / "inpainting",
        "base_model": micro_base,
        "image": picture[1],
        "mask": "ellipse(24,24,10,10)",
        "mask_blur": 1.0,
        "prompt": TOKENS[1],
        "num_images": 2,
        "num_inference_steps": 4,
        "batch_size": 2,
        "show_progress": False,
        "device": "cpu",
    }


def provenance(folder):
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def pixels_of(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_pixels_outside_the_blurred_mask_are_the_input_s_in_the_saved_file(run_config, inpainting, picture):
    run_config("inpainting", INFERENCE, **inpainting, seed=3)
    folder, (pixels, path) = inpainting["output_dir"], picture
    names = ["prostate_mri_positive_3", "prostate_mri_positive_4"]
    assert sorted(file.stem for file in (folder / "images").iterdir()) == names
    hard = pixels_of(folder / "masks" / f"{names[0]}.png")
    soft = pixels_of(folder / "masks" / f"{names[0]}_soft.png")
    assert hard.shape == (48, 48)
    assert set(np.unique(hard)) == {0, 255}
    assert int((hard > 0).sum()) == pytest.approx(np.pi * 100, rel=0.05)
    rows, columns = np.nonzero(soft)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 36, 11, 36)  # blurred by three more pixels
    painted = [pixels_of(folder / "images" / f"{name}.png") for name in names]
    for image in painted:
        assert np.array_equal(image[soft == 0], pixels[soft == 0])
        assert (image != pixels)[hard > 0].mean() > 0.9
    assert (painted[0] != painted[1]).any()
    assert (folder / "contact_sheet.png").is_file()

    first = provenance(folder)[0]
    expected = {
        "file": f"images/{names[0]}.png",
        "synthetic": True,
        "prompt": TOKENS[1],
        "seed": 3,
        "image": str(path),
        "mask": "ellipse(24,24,10,10)",
        "mask_file": f"masks/{names[0]}.png",
        "soft_mask_file": f"masks/{names[0]}_soft.png",
        "concepts": [TOKENS[1]],
        "strength": 0.75,
        "num_steps_run": 3,
        "num_inference_steps": 4,
        "fill": "original",
        "mask_blur": 1.0,
        "only_masked": False,
        "padding": None,
        "square": [0, 0, 48],
    }
    assert {key: first[key] for key in expected} == expected
    assert list(first["embedding_sha256"]) == [TOKENS[1]]
    assert json.loads((folder / "datalist.json").read_text())["training"] == [
        {"image": f"images/{name}.png", "mask": f"masks/{name}.png", "concepts": [TOKENS[1]], "seed": seed}
        for name, seed in zip(names, (3, 4), strict=True)
    ]
    with Image.open(folder / "images" / f"{names[0]}.png") as opened:
        assert opened.text["synthetic"] == "true"
    volume = SimpleITK.ReadImage(folder / "volumes" / f"{names[0]}_t2w.mha")
    assert volume.GetSize() == (300, 300, 1)


def test_only_the_masked_region_of_a_picture_that_is_not_square(run_config, inpainting, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 90), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(np.pad(np.ones((8, 8), np.uint8), ((20, 12), (70, 12)))).save(tmp_path / "mask.png")
    settings = {"image": tmp_path / "wide.png", "mask": tmp_path / "mask.png", "only_masked": True, "padding": 1}
    run_config("inpainting", INFERENCE, **{**inpainting, **settings, "fill": "blurred"})
    [line, _] = provenance(inpainting["output_dir"])
    assert line["square"] == [16, 66, 16]  # 8 pixels of mask, 3 of blur and 1 of padding on each side
    assert line["padding"] == 1
    painted = pixels_of(inpainting["output_dir"] / line["file"])
    soft = pixels_of(inpainting["output_dir"] / line["soft_mask_file"])
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[soft == 0], pixels[soft == 0])
    assert (painted != pixels)[20:28, 70:78].mean() > 0.9


def test_composed_prompts_are_painted_and_the_label_is_what_they_ask_for(run_config, inpainting):
    prompt = f"{TOKENS[1]} :1.5 AND {TOKENS[0]} :-0.5"
    run_config("inpainting", INFERENCE, **{**inpainting, "prompt": prompt, "num_images": 1, "fill": "noise"})
    [line] = provenance(inpainting["output_dir"])
    assert line["weights"] == [1.5, -0.5]
    assert line["concepts"] == [TOKENS[1]]


def test_slice_of_volumes_is_painted_in_all_sequences_and_the_rest_is_theirs(run_config, inpainting, picai):
    [t2w] = sorted((picai / "images").glob("*/*_t2w.mha"))[:1]
    settings = {"image": t2w, "mask": "ellipse(75,80,8,8) mm", "slice_index": 9, "only_masked": True, "padding": 0}
    run_config("inpainting", INFERENCE, **{**inpainting, **settings, "num_images": 1})
    folder = inpainting["output_dir"]
    for sequence in SEQUENCES:
        before = SimpleITK.ReadImage(str(t2w).replace("_t2w", f"_{sequence}"))
        after = SimpleITK.ReadImage(folder / "volumes" / f"prostate_mri_positive_0_{sequence}.mha")
        for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection", "GetPixelID"):
            assert getattr(after, fact)() == getattr(before, fact)()
        assert after.GetMetaData("Synthetic") == "slice 9 painted"
        changed = SimpleITK.GetArrayFromImage(before) != SimpleITK.GetArrayFromImage(after)
        [index] = np.flatnonzero(changed.any(axis=(1, 2)))
        assert abs(before.GetSpacing()[2] * (index - (before.GetDepth() - 1) / 2)) < 60
        spacing = before.GetSpacing()
        area = changed[index].sum() * spacing[0] * spacing[1]
        assert 0.8 * np.pi * 8**2 < area < np.pi * (8 + 1.5 + spacing[0]) ** 2  # three half millimetres of blur
    mask = SimpleITK.ReadImage(folder / "volumes" / "prostate_mri_positive_0_mask.mha")
    t2w_size = SimpleITK.ReadImage(str(t2w)).GetSize()
    array = SimpleITK.GetArrayFromImage(mask)
    assert mask.GetSize() == t2w_size
    area = array.sum() * mask.GetSpacing()[0] * mask.GetSpacing()[1]
    assert area == pytest.approx(np.pi * 8**2, rel=0.05)
    assert np.flatnonzero(array.any(axis=(1, 2))).tolist() == [9]
    assert pixels_of(folder / "images" / "prostate_mri_positive_0.png").shape == (300, 300, 3)


@pytest.mark.parametrize(
    ("overrides", "pattern"),
    [
        ({"image": None}, r"image must be given for inpainting: set --image to the picture to paint into"),
        ({"mask": None}, r"mask must be given for inpainting: set --mask to a PNG, ellipse\(cx,cy,rx,ry\) or box"),
        ({"image": "none.png"}, r"image 'none.png' does not exist: set --image to a PNG"),
        ({"mask": "none.png"}, r"mask 'none.png' does not exist: set --mask to a PNG, or write ellipse\(cx,cy"),
        ({"mask": "ellipse(1,2)"}, r"mask must be ellipse\(cx,cy,rx,ry\) with four numbers"),
        ({"mask": "box(90,90,99,99)"}, r"mask 'box\(90,90,99,99\)' must hold a pixel of the image of 48 x 48 pixels"),
        ({"mask": "box(9,9,10,10)"}, r"mask must cover half a latent, 12 x 12 pixels of this image, after mask_blur 1"),
        ({"strength": 0.0}, r"strength must be above 0 and at most 1, got 0.0: correct --strength"),
        ({"strength": 0.1}, r"strength 0.1 of num_inference_steps 4 must run a step, it runs none"),
        ({"fill": "grey"}, r"fill must be one of original, blurred, noise, zeros, got 'grey': correct --fill"),
        ({"mask_blur": -1.0}, r"mask_blur must be at least 0, got -1.0: correct --mask_blur"),
        ({"padding": -1}, r"padding must .*, got -1"),
        ({"prompt": "<unknown>"}, r"unknown concept '<unknown>'"),
        ({"strenght": 0.5}, r"unknown key 'strenght': did you mean 'strength'\?"),
    ],
)
def test_setting_that_does_not_fit(run_config, inpainting, overrides, pattern):
    from medti_components.bundle.error_line import error_line

    settings = {key: value for key, value in {**inpainting, **overrides}.items() if value is not None}
    with pytest.raises(Exception) as caught:  # MONAI wraps what configs raise
        run_config("inpainting", INFERENCE, **settings)
    assert re.search("^error: " + pattern, error_line(caught.value) or "")


@pytest.mark.skipif(not (EMBEDDED_BASE / "unet").is_dir(), reason="the embedded base model is not there")
def test_embedded_base_paints_a_picture_of_its_own_size(run_config, inpainting, tmp_path):
    words = saved_words(FrozenLatentDiffusion.from_pretrained(str(EMBEDDED_BASE)), tmp_path)
    pixels = np.full((64, 64, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "even.png")
    settings = {key: value for key, value in inpainting.items() if key != "base_model"}
    settings |= {"embeddings": words, "image": tmp_path / "even.png", "mask": "box(16,16,48,48)", "num_images": 1}
    run_config("inpainting", EMBEDDED, **settings)
    [line] = provenance(inpainting["output_dir"])
    painted = pixels_of(inpainting["output_dir"] / line["file"])
    soft = pixels_of(inpainting["output_dir"] / line["soft_mask_file"])
    assert np.array_equal(painted[soft == 0], pixels[soft == 0])
    assert (painted != pixels).any()
