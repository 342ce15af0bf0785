# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from monai.transforms import LoadImage, Orientation
from PIL import Image

from medti_components.data.datasets.file_readers import GreyImageReader, SimpleITKReader, read_volume
from medti_components.data.datasets.tables import table_rows
from medti_components.errors import DataError


def write_volume(path: Path, array: np.ndarray, compressed: bool = False) -> Path:
    volume = SimpleITK.GetImageFromArray(array)
    volume.SetSpacing((0.5, 0.5, 3.0))
    volume.SetOrigin((1.0, 2.0, 3.0))
    SimpleITK.WriteImage(volume, str(path), useCompression=compressed)
    return path


def test_affine_is_in_ras_and_axes_are_x_y_z(tmp_path):
    path = write_volume(tmp_path / "a.mha", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    array, meta = SimpleITKReader().get_data(SimpleITKReader().read(path))
    assert array.shape == (4, 3, 2)
    assert array[3, 0, 0] == 3  # x runs fastest in the file
    # ITK counts x to the left and y to the back, MONAI to the right and to the front.
    np.testing.assert_allclose(meta["affine"], [[-0.5, 0, 0, -1.0], [0, -0.5, 0, -2.0], [0, 0, 3.0, 3.0], [0, 0, 0, 1]])


def test_nifti_and_metaimage_of_one_volume_agree(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    metas = [SimpleITKReader().get_data(write_volume(tmp_path / name, array))[1] for name in ("a.mha", "a.nii.gz")]
    np.testing.assert_allclose(metas[0]["affine"], metas[1]["affine"], atol=1e-6)


def test_oriented_volume_has_anterior_up_and_the_right_side_on_the_left(tmp_path):
    array = np.zeros((2, 3, 4), dtype=np.int16)
    array[0, 0, 0] = 1  # lowest slice, most anterior row, most right column in ITK's axes
    loaded = LoadImage(reader=SimpleITKReader(), ensure_channel_first=True)(write_volume(tmp_path / "a.mha", array))
    oriented = Orientation("SPL", labels=None)(loaded)
    assert tuple(oriented.shape) == (1, 2, 3, 4)
    assert oriented[0, 0, 0, 0] == 1


def test_missing_file_is_named(tmp_path):
    path = tmp_path / "missing_t2w.mha"
    with pytest.raises(DataError, match=f"^'{re.escape(str(path))}' does not exist: .*--skip_unreadable true$"):
        read_volume(path)


@pytest.mark.parametrize(("name", "compressed"), [("a.mha", False), ("a.mha", True), ("a.nii.gz", True)])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6, 0.99])
def test_truncated_file_is_named(tmp_path, name, compressed, kept):
    values = np.random.default_rng(0).integers(0, 1000, (4, 32, 32)).astype(np.int16)
    path = write_volume(tmp_path / name, values, compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(
        DataError, match=f"^'{re.escape(str(path))}' is unreadable or truncated \\(.*\\): download it again"
    ):
        SimpleITKReader().get_data(path)


def test_two_dimensional_file_is_an_error(tmp_path):
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 5), np.int16)), str(path))
    with pytest.raises(
        DataError,
        match=r"must be a 3D volume of one channel, got \(x, y, ..., channels\) = \(5, 4, 1\): convert it",
    ):
        read_volume(path)


def test_values_that_are_not_finite_are_an_error(tmp_path):
    array = np.zeros((2, 3, 4), dtype=np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="a.mha' must hold finite values alone, 1 of its 24 are not: correct them"):
        SimpleITKReader().get_data(write_volume(tmp_path / "a.mha", array))


def test_errors_pass_through_monai(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        LoadImage(reader=SimpleITKReader())(tmp_path / "missing.mha")


def test_rows_by_column_whatever_is_short_or_marked(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfPath,Sex\na.jpg,F\nb.jpg\n")
    assert table_rows(tmp_path / "a.csv", ["Path"], "") == [{"Path": "a.jpg", "Sex": "F"}, {"Path": "b.jpg", "Sex": ""}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'Path': download it again"),
        (b"File\na.jpg\n", "has no column 'Path': download it again"),
        (b"Path\n\xff\xfe", r"is no readable table \('utf-8' codec .*\): download it again"),
        (b"Path\n" + b"a" * 200_000, r"is no readable table \(field larger than .*\): download it again"),
    ],
    ids=["empty", "another", "no text", "endless cell"],
)
def test_a_file_that_is_no_such_table(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"^'.*a.csv' {message}$"):
        table_rows(tmp_path / "a.csv", ["Path"], "download it again")


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_value_shows_nothing(tmp_path, value):
    Image.new("L", (6, 4), value).save(tmp_path / "blank.png")
    with pytest.raises(DataError, match=f"blank.png' must show something, all its pixels are {value}: replace it, or"):
        GreyImageReader().get_data(tmp_path / "blank.png")


def write_dicom(path):
    slice_ = SimpleITK.GetImageFromArray(np.arange(20, dtype=np.uint16).reshape(4, 5))
    SimpleITK.WriteImage(slice_, str(path.with_suffix(".dcm")))
    path.with_suffix(".dcm").rename(path)


def write_sheared(path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.float32), affine), path)


def write_4d(path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7, 3), np.float32), np.eye(4)), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.mha", write_dicom, "must be a whole volume, got a DICOM file of one slice: convert its series to .mha or"),
        ("a.nii.gz", write_sheared, "must have axes at right angles, its affine is sheared: resample it, or leave"),
        ("a.nii.gz", write_4d, "must be a 3D volume of one channel, got .* = (5, 6, 7, 3, 1): save one of its volumes"),
        (
            "a.nii.gz",
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
            "it is a Git LFS",
        ),
        ("a.mha", lambda path: path.write_text("<html>"), "is unreadable or truncated (it is a web page): download it"),
        ("a.mha", lambda path: path.write_bytes(b""), "is unreadable or truncated (it is an empty file): download it"),
        ("a.mha", lambda path: path.write_bytes(b"PK\x03\x04"), "(it is a zip archive): download it"),
    ],
)
def test_a_file_of_another_kind_is_told_apart_from_a_damaged_one(tmp_path, name, write, message):
    write(tmp_path / name)
    expected = re.escape(message).replace(re.escape(".*"), ".*")
    with pytest.raises(DataError, match=f"{expected}.*--skip_unreadable true$"):
        SimpleITKReader().get_data(tmp_path / name)


def test_a_dicom_radiograph_is_to_be_converted(tmp_path):
    write_dicom(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png' must be a PNG or JPG, got a DICOM file: convert it, or leave"):
        GreyImageReader().get_data(tmp_path / "a.png")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_another_separator_is_told(tmp_path, mark):
    (tmp_path / "a.csv").write_text(f"Path{mark}Sex\na.jpg{mark}F\n")
    expected = f"'{tmp_path / 'a.csv'}' must be separated by commas, got {mark!r}: save it as CSV with commas"
    with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
        table_rows(tmp_path / "a.csv", ["Path"], "download it again")
