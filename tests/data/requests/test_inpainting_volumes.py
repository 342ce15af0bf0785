# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medti_components.data.requests.inpainting_input import load_inpainting_input
from medti_components.errors import ConfigError, DataError

SEQUENCES = ["t2w", "adc", "hbv"]
GRIDS = {  # size and spacing (x, y, z)
    "t2w": ((120, 120, 7), (0.5, 0.5, 3.0)),
    "adc": ((36, 36, 7), (2.0, 2.0, 3.0)),
    "hbv": ((36, 36, 7), (2.0, 2.0, 3.0)),
}
TYPES = {"t2w": np.int16, "adc": np.uint16, "hbv": np.float32}
FIELD_MM = 40.0
TRAIN = Path(__file__).parents[3] / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json"


def volume_of(sequence, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), code=None):
    """Random voxels on a grid whose centre is at the same point for every sequence."""
    size, spacing = GRIDS[sequence]
    array = np.random.default_rng(len(sequence) + size[0]).integers(0, 1000, size[::-1]).astype(TYPES[sequence])
    volume = SimpleITK.GetImageFromArray(array)
    volume.SetSpacing(spacing)
    volume.SetDirection(direction)
    half = np.reshape(direction, (3, 3)) @ ((np.array(size) - 1) / 2 * np.array(spacing))
    volume.SetOrigin(tuple(float(value) for value in np.array([10.0, -20.0, 30.0]) - half))
    volume = volume if code is None else SimpleITK.DICOMOrient(volume, code)
    volume.SetMetaData("Scanner", "phantom")
    return volume


@pytest.fixture
def study(tmp_path):
    """Paths of a study's volumes, by sequence."""
    return written_study(tmp_path)


def written_study(folder, **kwargs):
    paths = {sequence: folder / f"1_2_{sequence}.mha" for sequence in SEQUENCES}
    for sequence, path in paths.items():
        SimpleITK.WriteImage(volume_of(sequence, **kwargs), str(path))
    return paths


def load(study, mask, **settings):
    return load_inpainting_input(str(study["t2w"]), mask, SEQUENCES, FIELD_MM, **settings)


def smooth_study(folder, spacing):
    """A study of waves, 36 mm square and 42 mm high, whose T2W volume has this spacing; and a mask of its slice."""
    grids = {"t2w": spacing, "adc": (2.0, 2.0, 3.0), "hbv": (2.0, 2.0, 3.0)}
    volumes = {}
    for phase, (sequence, steps) in enumerate(grids.items()):
        size = [round(length / step) + 1 for length, step in zip((36.0, 36.0, 42.0), steps, strict=True)]
        x, y, z = (np.arange(count) * step for count, step in zip(size, steps, strict=True))
        waves = np.sin(x / 3 + phase)[None, None] + np.cos(y / 4)[None, :, None] + np.sin(z / 5)[:, None, None]
        volumes[sequence] = SimpleITK.GetImageFromArray(waves.astype(np.float32))
        volumes[sequence].SetSpacing(steps)
        SimpleITK.WriteImage(volumes[sequence], str(folder / f"1_2_{sequence}.mha"))
    return {sequence: folder / f"1_2_{sequence}.mha" for sequence in SEQUENCES}, volumes["t2w"]


@pytest.mark.parametrize(
    ("spacing", "slice_index"),
    [((0.5, 0.5, 3.0), 6), ((0.625, 0.625, 3.0), 5), ((0.3, 0.3, 3.6), 5), ((0.3, 0.3, 3.6), 10)],
)
@pytest.mark.parametrize("field_mm", [20.0, 50.0], ids=["cropped", "padded"])
def test_the_image_is_that_of_training(tmp_path, spacing, slice_index, field_mm):
    """Slices 5 and 10 of 3.6 mm are 18 and 36 mm from the lowest: training's own slices of 3 mm."""
    paths, t2w = smooth_study(tmp_path, spacing)
    array = np.zeros(t2w.GetSize()[::-1])
    middle = t2w.GetSize()[0] // 2
    array[slice_index, middle - 4 : middle + 4, middle - 4 : middle + 4] = 1
    mask = mask_file(tmp_path, array, like=t2w)
    config = ConfigParser.load_config_file(TRAIN)
    given = {"field_of_view_mm": field_mm, "image_size": round(field_mm * 2), "sequences": SEQUENCES}
    preprocessing = ConfigParser({**config, **given}).get_parsed_content("preprocessing")
    entry = {**{key: str(path) for key, path in paths.items()}, "mask": mask, "label": 1}
    expected = preprocessing({**entry, "concept": "<a>", "patient_id": "1", "study_id": "2"})["image"]
    source = load_inpainting_input(str(paths["t2w"]), mask, SEQUENCES, field_mm)
    assert source.facts["slice_index"] == slice_index
    inside = slice(None) if field_mm < 36 else slice(15, -15)  # at its edges a volume fades in one, ends in the other
    torch.testing.assert_close(source.image[:, inside, inside], expected[:, inside, inside], atol=0.02, rtol=0)


def mask_file(tmp_path, array, name="mask.nii.gz", like=None):
    mask = SimpleITK.GetImageFromArray(array.astype(np.uint8))
    mask.CopyInformation(like if like is not None else volume_of("t2w"))
    SimpleITK.WriteImage(mask, str(tmp_path / name))
    return str(tmp_path / name)


def test_square_in_the_middle_of_the_slice_is_the_image(study):
    source = load(study, "ellipse(20,20,6,6) mm", slice_index=2)
    assert source.size == (80, 80)
    t2w = SimpleITK.GetArrayFromImage(volume_of("t2w")).astype(np.float64)
    scaled = (t2w - t2w.min()) / (t2w.max() - t2w.min()) * 2 - 1
    np.testing.assert_allclose(source.image[0].numpy(), scaled[2, 20:100, 20:100], atol=1e-5)
    assert source.mask.shape == (80, 80)
    assert float(source.mask.sum()) == pytest.approx(np.pi * 12**2, rel=0.02)
    assert bool(source.mask[40, 40])
    assert source.facts["slice_index"] == 2
    assert source.facts["image"] == [str(path) for path in study.values()]


def test_pixels_of_a_mask_are_those_of_the_first_sequence_s_slice(study, tmp_path):
    box = load(study, "box(50,30,60,44)", slice_index=2).mask
    rows, columns = box.nonzero(as_tuple=True)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (10, 23, 30, 39)
    pixels = np.zeros((120, 120), np.uint8)
    pixels[30:44, 50:60] = 7
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert torch.equal(load(study, str(tmp_path / "mask.png"), slice_index=2).mask, box)


def test_slice_is_that_of_the_largest_area_of_a_mask_volume_or_the_median_one_of_the_gland(study, tmp_path):
    array = np.zeros((7, 120, 120))
    array[3, 50:60, 50:60] = 2
    array[4, 50:70, 50:60] = 1
    source = load(study, mask_file(tmp_path, array))
    assert source.facts["slice_index"] == 4
    assert int(source.mask.sum()) == 200
    gland = np.zeros((7, 120, 120))
    gland[1:6, 40:80, 40:80] = 1
    path = mask_file(tmp_path, gland, "gland.nii.gz")
    assert load(study, "box(50,50,60,60)", gland=path).facts["slice_index"] == 3
    assert load(study, "box(50,50,60,60)", gland=path, slice_index=5).facts["slice_index"] == 5


@pytest.mark.parametrize("code", ["LPS", "RAI", "SPL", "PSR"])
def test_only_masked_voxels_of_the_slice_change_and_geometry_stays(tmp_path, code):
    study = written_study(tmp_path, code=code)
    source = load(study, "box(10,12,20,24) mm", slice_index=2)
    written = source.volumes.pasted(torch.full((3, 80, 80), 1.0), source.mask.float())
    for sequence, path in study.items():
        before, after = SimpleITK.ReadImage(str(path)), written[sequence]
        assert after.GetPixelID() == before.GetPixelID()
        for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(after, fact)() == getattr(before, fact)()
        assert after.GetMetaData("Scanner") == "phantom"
        old, new = (SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(volume, "LPS")) for volume in (before, after))
        changed = old != new
        assert np.flatnonzero(changed.any(axis=(1, 2))).tolist() == [2]
        if sequence == "t2w":  # the square begins 20 voxels in; the box is 20 wide and 24 high in half millimetres
            expected = np.zeros((120, 120), bool)
            expected[20 + 24 : 20 + 48, 20 + 20 : 20 + 40] = True
            assert (new[2][expected] == old.max()).all()
            assert np.array_equal(new[2][~expected], old[2][~expected])
        else:
            rows, columns = np.nonzero(changed[2])
            centres = [(index - 17.5) * 2.0 + 20.0 for index in (rows.min(), rows.max(), columns.min(), columns.max())]
            assert 11.0 <= centres[0] <= 13.5 and 22.5 <= centres[1] <= 25.0
            assert 9.0 <= centres[2] <= 11.5 and 18.5 <= centres[3] <= 21.0
            assert new[2, 18, 14] == pytest.approx(old.max(), rel=1e-4)  # at (19, 21) mm... the middle of the box


@pytest.mark.parametrize("code", ["LPS", "RAI"])
def test_geometry_of_oblique_volumes_stays_to_the_last_bit(tmp_path, code):
    cosine, sine = np.cos(0.2), np.sin(0.2)
    study = written_study(tmp_path, direction=(1, 0, 0, 0, cosine, -sine, 0, sine, cosine), code=code)
    source = load(study, "box(10,12,20,24) mm", slice_index=2)
    written = source.volumes.pasted(torch.full((3, 80, 80), 1.0), source.mask.float())
    for sequence, path in study.items():
        before, after = SimpleITK.ReadImage(str(path)), written[sequence]
        assert after.GetOrigin() == before.GetOrigin()
        assert after.GetDirection() == before.GetDirection()
        changed = SimpleITK.GetArrayFromImage(before) != SimpleITK.GetArrayFromImage(after)
        size = {"t2w": 20 * 24, "adc": 5 * 6, "hbv": 5 * 6}[sequence]
        assert size <= changed.sum() <= size * 1.6
        assert len(np.flatnonzero(changed.any(axis=(1, 2)))) == 1


def test_painting_the_image_itself_leaves_the_first_sequence_as_it_was(study):
    source = load(study, "box(10,12,20,24) mm", slice_index=2)
    written = source.volumes.pasted(source.image, source.mask.float())["t2w"]
    assert np.array_equal(SimpleITK.GetArrayFromImage(written), SimpleITK.GetArrayFromImage(volume_of("t2w")))


def test_mask_goes_out_as_a_volume_on_the_first_sequence_s_grid(tmp_path):
    study = written_study(tmp_path, code="RAI")
    source = load(study, "box(10,12,20,24) mm", slice_index=2)
    mask = source.volumes.mask_volume(source.mask)
    original = SimpleITK.ReadImage(str(study["t2w"]))
    assert mask.GetSize() == original.GetSize()
    assert mask.GetOrigin() == original.GetOrigin()
    assert mask.GetDirection() == original.GetDirection()
    array = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(mask, "LPS"))
    assert array.dtype == np.uint8
    assert int(array.sum()) == 20 * 24
    assert int(array[2, 44:68, 40:60].sum()) == 20 * 24


def test_one_sequence_fills_all_channels_and_gets_their_mean(study):
    source = load_inpainting_input(str(study["adc"]), "box(10,12,20,24) mm", ["adc"], FIELD_MM, slice_index=2)
    assert torch.equal(source.image[0], source.image[2])
    written = source.volumes.pasted(torch.full((3, 80, 80), -1.0), source.mask.float())
    assert list(written) == ["adc"]


@pytest.mark.parametrize(
    ("mask", "settings", "error", "message"),
    [
        (
            "box(50,50,60,60)",
            {},
            ConfigError,
            "slice_index must be given for the volume '{t2w}': set --slice_index betw",
        ),
        ("box(50,50,60,60)", {"slice_index": 7}, ConfigError, "slice_index must be between 0 and 6 in '{t2w}', got 7"),
        (
            "box(50,50,60,60)",
            {"slice_index": "mid"},
            ConfigError,
            "slice_index must be between 0 and 6 in '{t2w}', got",
        ),
        (
            "box(0,0,9,9)",
            {"slice_index": 2},
            DataError,
            "mask 'box(0,0,9,9)' must have a pixel in slice 2 within the ce",
        ),
        ("box(90,0,99,9) mm", {"slice_index": 2}, ConfigError, "mask 'box(90,0,99,9) mm' must hold a pixel of the ima"),
    ],
)
def test_slice_or_mask_outside(study, mask, settings, error, message):
    expected = message.replace("{t2w}", str(study["t2w"]))
    with pytest.raises(error, match="^" + re.escape(expected)):
        load(study, mask, **settings)


def test_mask_volume_that_does_not_fit(study, tmp_path):
    empty = mask_file(tmp_path, np.zeros((7, 120, 120)))
    message = "' must have a voxel above zero where '1_2_t2w.mha' is, got none: choose another, or correct its origin"
    with pytest.raises(DataError, match=f"mask '.*mask.nii.gz{message}"):
        load(study, empty)
    far = volume_of("t2w")
    far.SetOrigin((400.0, 0.0, 0.0))
    elsewhere = mask_file(tmp_path, np.ones((7, 120, 120)), "gland.nii.gz", like=far)
    with pytest.raises(DataError, match=f"gland '.*gland.nii.gz{message}"):
        load(study, "box(50,50,60,60)", gland=elsewhere)


def moved(volume, shift_mm):
    volume.SetOrigin(tuple(np.array(volume.GetOrigin()) + shift_mm))
    return volume


def test_a_mask_volume_lies_where_its_origin_says(study, tmp_path):
    """A mask of T2W's size: its slice 4, two slices lower and 5 mm to the side, is slice 2 of T2W."""
    array = np.zeros((7, 120, 120))
    array[4, 50:60, 40:60] = 1
    like = moved(volume_of("t2w"), (5.0, 0.0, -6.0))
    source = load(study, mask_file(tmp_path, array, like=like))
    rows, columns = source.mask.nonzero(as_tuple=True)
    assert source.facts["slice_index"] == 2
    # 10 voxels to the side, less the 20 that are cut off
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (30, 39, 30, 49)
    gland = mask_file(tmp_path, array, "gland.nii.gz", like=like)
    assert load(study, "box(50,50,60,60)", gland=gland).facts["slice_index"] == 2


@pytest.mark.parametrize("code", ["RPI", "LAS", "SPL"])
def test_a_mask_volume_stored_in_another_direction_is_the_same(study, tmp_path, code):
    array = np.zeros((7, 120, 120))
    array[4, 50:60, 40:60] = 1
    plain = load(study, mask_file(tmp_path, array))
    turned = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz")), code)
    SimpleITK.WriteImage(turned, str(tmp_path / "turned.nii.gz"))
    source = load(study, str(tmp_path / "turned.nii.gz"))
    assert source.facts["slice_index"] == plain.facts["slice_index"] == 4
    assert torch.equal(source.mask, plain.mask)


def test_a_mask_volume_of_another_spacing_covers_the_same_place(study, tmp_path):
    """Eight voxels of 2 mm in the middle of ADC, whose centre is that of T2W."""
    array = np.zeros((7, 36, 36))
    array[3, 14:22, 14:22] = 1
    source = load(study, mask_file(tmp_path, array, like=volume_of("adc")))
    assert source.facts["slice_index"] == 3
    assert int(source.mask.sum()) == 32 * 32  # 16 mm of 0.5 mm
    assert bool(source.mask[24:56, 24:56].all())


@pytest.mark.parametrize(
    ("shift_mm", "message"),
    [
        ((400.0, 0.0, 0.0), "ADC covers 0 % of the slice that is shown, must cover 75 %"),
        ((28.0, 0.0, 0.0), "ADC covers 70 % of the slice that is shown, must cover 75 %"),
    ],
)
def test_a_sequence_that_does_not_meet_the_slice(study, shift_mm, message):
    SimpleITK.WriteImage(moved(volume_of("adc"), shift_mm), str(study["adc"]))
    with pytest.raises(DataError, match=f"^image '.*1_2_t2w.mha': {message}"):
        load(study, "box(50,50,60,60)", slice_index=2)


def test_a_sequence_of_one_value_in_the_slice(study):
    volume = volume_of("adc")
    volume[:, :, 2] = 5
    SimpleITK.WriteImage(volume, str(study["adc"]))
    with pytest.raises(DataError, match="^sequence 'adc' must show something in slice 2 of '1_2_t2w.mha', it has one"):
        load(study, "box(50,50,60,60)", slice_index=2)


def test_volumes_that_do_not_fit(study, tmp_path):
    with pytest.raises(
        ConfigError, match=r"image must be 3 volumes, one each of t2w, adc, hbv, or one whose name ends"
    ):
        load_inpainting_input([str(study["t2w"]), str(study["adc"])], "box(0,0,9,9)", SEQUENCES, FIELD_MM)
    with pytest.raises(ConfigError, match=r"sequences must name one or three sequences, got \['t2w', 'adc'\]"):
        load_inpainting_input(str(study["t2w"]), "box(0,0,9,9)", ["t2w", "adc"], FIELD_MM)
    study["hbv"].unlink()
    with pytest.raises(DataError, match=r"image '.*1_2_hbv.mha' does not exist: correct --image"):
        load(study, "box(0,0,9,9)", slice_index=2)
    flat = SimpleITK.Cast(volume_of("hbv") * 0, SimpleITK.sitkFloat32)
    SimpleITK.WriteImage(flat, str(study["hbv"]))
    with pytest.raises(DataError, match=r"image '.*hbv.mha' must show something, all its voxels are 0: choose another"):
        load(study, "box(0,0,9,9)", slice_index=2)
    SimpleITK.WriteImage(flat + float("nan"), str(study["hbv"]))
    with pytest.raises(DataError, match=r"image '.*hbv.mha' must hold finite values alone: choose another"):
        load(study, "box(0,0,9,9)", slice_index=2)


def test_sequence_that_does_not_reach_the_slice(study):
    SimpleITK.WriteImage(volume_of("hbv")[:, :, 3:], str(study["hbv"]))
    with pytest.raises(DataError, match=r"sequence 'hbv' must reach slice 1 of '1_2_t2w.mha', it does not: choose ano"):
        load(study, "box(10,12,20,24) mm", slice_index=1)
    load(study, "box(10,12,20,24) mm", slice_index=3)
