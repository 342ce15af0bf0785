# SPDX-License-Identifier: Apache-2.0
import logging
import os
import re
import shutil
from pathlib import Path

import pytest
import SimpleITK
import torch
from monai.transforms import Compose, Lambda, LoadImaged
from PIL import Image

from medti_components.data.datasets.picai import PicaiCases
from medti_components.data.datasets.splits import Sizes
from medti_components.data.prepared_images import PreparedImages
from medti_components.errors import ConfigError, DataError, OutputError

CONCEPTS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]


def listed(folder, concepts, num_cases=1, num_validation_cases=0, split="training"):
    return PicaiCases(folder, concepts).drawn(split, Sizes(num_cases, num_validation_cases), seed=0)


class NumberInFile:
    """A transform that fills an image with the number that the file ``source`` holds, and counts its calls."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, entry):
        text = Path(entry["source"]).read_text()
        if not text.isdigit():
            raise DataError(f"'{entry['source']}' is unreadable")
        return {"image": torch.full((3, 2, 2), self.factor * int(text))}


@pytest.fixture
def entries(tmp_path):
    made = []
    for number in range(3):
        path = tmp_path / f"source_{number}.txt"
        path.write_text(str(number))
        made.append({"source": str(path), "concept": "<a>", "label": 0, "patient_id": str(number), "study_id": "0"})
    return made


def prepared(entries, tmp_path, factor=1.0, **kwargs):
    return PreparedImages(entries, NumberInFile(factor), tmp_path / "cache", show_progress=False, **kwargs)


def values(images):
    return [float(item["image"].mean()) for item in images]


def test_items_hold_the_image_and_the_case(entries, tmp_path):
    images = prepared(entries, tmp_path)
    assert len(images) == 3
    item = images[2]
    assert torch.equal(item.pop("image"), torch.full((3, 2, 2), 2.0))
    assert item == {"concept": "<a>", "label": 0, "patient_id": "2", "study_id": "0"}
    assert values(images) == [0, 1, 2]


def test_second_time_nothing_is_prepared(entries, tmp_path):
    assert prepared(entries, tmp_path).num_prepared == 3
    again = prepared(entries, tmp_path)
    assert again.num_prepared == 0
    assert values(again) == [0, 1, 2]


def test_changed_source_is_prepared_again(entries, tmp_path):
    prepared(entries, tmp_path)
    Path(entries[1]["source"]).write_text("7")
    os.utime(entries[1]["source"], ns=(1, 1))
    again = prepared(entries, tmp_path)
    assert again.num_prepared == 1
    assert values(again) == [0, 7, 2]


def test_changed_settings_are_prepared_again(entries, tmp_path):
    prepared(entries, tmp_path)
    doubled = prepared(entries, tmp_path, factor=2.0)
    assert doubled.num_prepared == 3
    assert values(doubled) == [0, 2, 4]
    assert prepared(entries, tmp_path).num_prepared == 0


def test_damaged_prepared_image_is_made_again(entries, tmp_path):
    prepared(entries, tmp_path)
    images = prepared(entries, tmp_path)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"half")
    assert values(images) == [0, 1, 2]
    assert values(prepared(entries, tmp_path)) == [0, 1, 2]


def test_without_a_folder_images_stay_in_memory(entries):
    images = PreparedImages(entries, NumberInFile(), None, show_progress=False)
    assert values(images) == [0, 1, 2]
    assert images.num_prepared == 3


def test_bad_source_is_an_error_or_skipped_and_counted(entries, tmp_path, caplog):
    Path(entries[1]["source"]).write_text("x")
    with pytest.raises(DataError, match="source_1.txt' is unreadable$"):
        prepared(entries, tmp_path)
    with caplog.at_level(logging.WARNING):
        images = prepared(entries, tmp_path, skip_unreadable=True)
    assert values(images) == [0, 2]
    assert images.num_skipped == 1
    assert "source_1.txt' is unreadable" in caplog.text
    assert "1 of 3 images are left out" in caplog.text


def test_typed_errors_come_out_of_monai_and_defects_stay_as_they_are(entries):
    def fail(error):
        def transform(entry):
            raise error

        return Compose([Lambda(transform)])

    with pytest.raises(DataError, match="^no lesion$"):
        PreparedImages(entries, fail(DataError("no lesion")), None, show_progress=False)
    with pytest.raises(ConfigError, match="^wrong key$"):  # not of one study: never skipped
        PreparedImages(entries, fail(ConfigError("wrong key")), None, skip_unreadable=True, show_progress=False)
    with pytest.raises(RuntimeError, match="applying transform"):
        PreparedImages(entries, fail(ZeroDivisionError()), None, skip_unreadable=True, show_progress=False)


def test_folder_that_is_not_writable_is_named(entries, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="^cache_dir '.*cache' is not writable"):
        prepared(entries, tmp_path)


def test_no_entries_are_no_error(tmp_path):
    assert list(prepared([], tmp_path)) == []


def test_phantom_studies_are_prepared_once_by_the_bundle(phantom_picai, preprocessing, tmp_path):
    datalist = listed(phantom_picai, CONCEPTS, 2, 1)
    held_out = listed(phantom_picai, CONCEPTS, 2, 1, "validation")
    for expected in ((4, 2), (0, 0)):
        transform = preprocessing(64)
        training = PreparedImages(datalist, transform, tmp_path, show_progress=False)
        validation = PreparedImages(held_out, transform, tmp_path, show_progress=False)
        assert (training.num_prepared, validation.num_prepared) == expected
    for item in training:
        assert tuple(item["image"].shape) == (3, 64, 64)
        assert type(item["image"]) is torch.Tensor
        assert item["image"].dtype == torch.float32
        assert -1 <= float(item["image"].min()) < -0.8
        assert 0.8 < float(item["image"].max()) <= 1


def test_the_image_shows_the_slice_of_the_t2w_volume(phantom_picai, preprocessing):
    """At 300 pixels nothing is resized: the image is the centre of the slice, scaled by the volume's extremes."""
    (entry,) = listed(phantom_picai, CONCEPTS[1:])
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(entry["t2w"])).astype("float32")
    lesion = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(entry["lesion"]))
    index = (lesion > 0).sum(axis=(1, 2)).argmax()
    expected = torch.from_numpy((volume[index, 42:342, 42:342] - volume.min()) / (volume.max() - volume.min()) * 2 - 1)
    image = preprocessing(300, ("t2w",))(entry)["image"]
    torch.testing.assert_close(image, expected.expand(3, 300, 300), atol=1e-5, rtol=0)


def test_a_smaller_field_of_view_is_the_middle_of_the_image(phantom_picai, preprocessing):
    (entry,) = listed(phantom_picai, CONCEPTS[1:])
    whole, middle = preprocessing(300)(entry)["image"], preprocessing(192, field_of_view_mm=96.0)(entry)["image"]
    torch.testing.assert_close(middle, whole[:, 54:246, 54:246], atol=1e-5, rtol=0)


def test_adc_of_the_image_lies_on_the_t2w_grid(phantom_picai, preprocessing):
    """The same as resampling the whole volume by SimpleITK, which knows nothing of MONAI's affines."""
    (entry,) = listed(phantom_picai, CONCEPTS[:1])
    adc, t2w = SimpleITK.ReadImage(entry["adc"], SimpleITK.sitkFloat32), SimpleITK.ReadImage(entry["t2w"])
    array = SimpleITK.GetArrayFromImage(SimpleITK.Resample(adc, t2w, SimpleITK.Transform(), SimpleITK.sitkLinear))
    whole = SimpleITK.GetArrayFromImage(adc)
    gland = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(entry["gland"]))
    held = gland.any(axis=(1, 2)).nonzero()[0]
    index = held[(len(held) - 1) // 2]
    expected = (array[index, 42:342, 42:342] - whole.min()) / (whole.max() - whole.min()) * 2 - 1
    image = preprocessing(300)(entry)["image"][1]
    torch.testing.assert_close(image, torch.from_numpy(expected).float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("key", ["t2w", "adc", "hbv", "mask"])
def test_truncated_volume_is_named(phantom_picai, preprocessing, tmp_path, key):
    (entry,) = listed(phantom_picai, CONCEPTS[1:])
    path = tmp_path / Path(entry[key]).name
    shutil.copy(entry[key], path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=f"^'{re.escape(str(path))}' is unreadable or truncated"):
        PreparedImages([{**entry, key: str(path)}], preprocessing(), None, show_progress=False)


def test_small_studies_are_padded(phantom_picai, preprocessing, tmp_path):
    (entry,) = listed(phantom_picai, CONCEPTS[1:])
    volume = SimpleITK.ReadImage(entry["t2w"])[92:292, 92:292]  # 100 mm of the 150
    SimpleITK.WriteImage(volume, str(tmp_path / "small.mha"))
    image = preprocessing(300, ("t2w",))({**entry, "t2w": str(tmp_path / "small.mha")})["image"]
    assert torch.all(image[:, :50] == -1)
    assert torch.all(image[:, :, 250:] == -1)
    assert float(image[:, 50:250, 50:250].mean()) > -0.7


def test_other_spacings_are_resampled(phantom_picai, preprocessing, tmp_path):
    (entry,) = listed(phantom_picai, CONCEPTS[1:])
    volume = SimpleITK.ReadImage(entry["t2w"])
    grid = SimpleITK.Image([192, 192, volume.GetSize()[2]], SimpleITK.sitkInt16)
    grid.SetDirection(volume.GetDirection())
    grid.SetSpacing((1.0, 1.0, 3.0))
    grid.SetOrigin(volume.TransformContinuousIndexToPhysicalPoint((0.5, 0.5, 0.0)))
    coarse = SimpleITK.Resample(SimpleITK.DiscreteGaussian(volume, 0.25), grid)
    SimpleITK.WriteImage(coarse, str(tmp_path / "coarse.mha"))
    expected = preprocessing(64, ("t2w",))(entry)["image"]
    image = preprocessing(64, ("t2w",))({**entry, "t2w": str(tmp_path / "coarse.mha")})["image"]
    assert float((image - expected).abs().mean()) < 0.05


@pytest.mark.parametrize("reader", [None, "PILReader"])
@pytest.mark.parametrize("content", [b"no picture", b""])
def test_what_monais_own_readers_raise_is_one_line_and_can_be_skipped(tmp_path, reader, content, caplog):
    (tmp_path / "a.png").write_bytes(content)
    Image.new("L", (4, 4), 9).save(tmp_path / "b.png")
    entries = [{"image": str(tmp_path / name), "concept": "<a>", "label": 0} for name in ("a.png", "b.png")]
    transform = Compose([LoadImaged("image", reader=reader, ensure_channel_first=True)])
    with pytest.raises(DataError) as raised:
        PreparedImages(entries, transform, None, show_progress=False)
    message = str(raised.value)
    assert message.startswith(f"'{tmp_path / 'a.png'}' can't be read (")
    assert message.endswith("): replace it, or leave such cases out by --skip_unreadable true")
    assert "\n" not in message
    assert len(PreparedImages(entries, transform, None, skip_unreadable=True, show_progress=False)) == 1


def test_an_error_that_is_no_readers_goes_on_as_it_came():
    with pytest.raises(ZeroDivisionError):
        PreparedImages([{"image": "a.png"}], lambda entry: 1 / 0, None, skip_unreadable=True, show_progress=False)
