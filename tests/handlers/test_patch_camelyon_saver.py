# SPDX-License-Identifier: Apache-2.0
import h5py
import numpy as np
import pytest
from generated_runs import random_pixels, write_run
from PIL import Image

from medti_components.data.datasets.patch_camelyon import PatchCamelyonCases
from medti_components.data.datasets.splits import Sizes
from medti_components.errors import ConfigError, DataError, OutputError
from medti_components.handlers.patch_camelyon_saver import PatchCamelyonSaver
from medti_components.inferers.prompt_composition import parse_prompt

NORMAL, TUMOR = CONCEPTS = ["<histopathology_normal>", "<histopathology_tumor>"]


def read(folder):
    stem = "pcam/camelyonpatch_level_2_split_train"
    with h5py.File(folder / f"{stem}_x.h5") as x, h5py.File(folder / f"{stem}_y.h5") as y:
        assert x.attrs["source"] == y.attrs["source"] == "synthetic"
        return x["x"][:], y["y"][:]


def test_all_images_of_the_folder_become_rows_with_their_concept_s_label(tmp_path):
    write_run(tmp_path, [TUMOR, NORMAL, f"{TUMOR} :1.5 AND {NORMAL} :-0.5"], size=96)
    saver = PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS)
    saver.check([parse_prompt(TUMOR)])
    saver()
    x, y = read(tmp_path)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((3, 96, 96, 3), np.uint8, (3, 1, 1, 1), np.uint8)
    assert y.reshape(-1).tolist() == [1, 0, 1]
    for row in range(3):
        assert np.array_equal(x[row], random_pixels(row, 96))


def test_images_of_other_sizes_are_resized_in_place(tmp_path):
    write_run(tmp_path, [TUMOR], size=64)
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32] = (250, 10, 90)
    Image.fromarray(pixels).save(tmp_path / "images" / "0.png")
    PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS)()
    x, _ = read(tmp_path)
    assert x[0, 20, 20].tolist() == [250, 10, 90]
    assert x[0, 70, 20].tolist() == x[0, 20, 70].tolist() == [0, 0, 0]


def test_what_is_written_is_a_data_set_of_ours(tmp_path):
    write_run(tmp_path, [TUMOR, NORMAL, TUMOR], size=96)
    PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS)()
    entries = PatchCamelyonCases(tmp_path, CONCEPTS).drawn("training", Sizes(1, 0), seed=0)
    assert [entry["label"] for entry in entries] == [0, 1]


def test_png_leaves_nothing_beside(tmp_path):
    write_run(tmp_path, [TUMOR])
    saver = PatchCamelyonSaver(tmp_path, "png", CONCEPTS)
    saver.check(["frontal"])
    saver.check_unwanted("inpainting")
    saver()
    assert not (tmp_path / "pcam").exists()


@pytest.mark.parametrize("prompt", ["a patch", f"{NORMAL} :0.5 AND {TUMOR} :0.5"])
def test_prompts_without_a_label_are_found_before_anything_long(tmp_path, prompt):
    saver = PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS)
    message = rf"^prompt must ask for exactly one of {NORMAL}, {TUMOR} where output_format is 'pcam', got '{prompt}': "
    with pytest.raises(ConfigError, match=message):
        saver.check([parse_prompt(prompt)])
    write_run(tmp_path, [TUMOR, prompt])  # of an earlier run into the same folder
    with pytest.raises(ConfigError, match=message):
        saver.check([parse_prompt(TUMOR)])


def test_formats_that_do_not_fit(tmp_path):
    with pytest.raises(ConfigError, match="^output_format must be 'png' or 'pcam', got 'h5': correct --output_format$"):
        PatchCamelyonSaver(tmp_path, "h5", CONCEPTS)
    with pytest.raises(
        ConfigError,
        match="^output_format must be 'png' for inpainting, whose images have no label, got 'pcam': leave --out",
    ):
        PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS).check_unwanted("inpainting")


def test_image_that_is_gone_or_a_folder_of_another_kind_is_named(tmp_path):
    write_run(tmp_path, [TUMOR, NORMAL])
    (tmp_path / "images" / "1.png").unlink()
    saver = PatchCamelyonSaver(tmp_path, "pcam", CONCEPTS)
    with pytest.raises(DataError, match="^'.*images/1.png' is missing or not a readable image: generate it again$"):
        saver()
    assert not [*(tmp_path / "pcam").iterdir()]
    (tmp_path / "provenance.jsonl").write_text("not JSON\n")
    with pytest.raises(OutputError, match="^'.*provenance.jsonl' is of another kind or damaged"):
        saver.check([parse_prompt(TUMOR)])
