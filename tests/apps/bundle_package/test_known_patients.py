# SPDX-License-Identifier: Apache-2.0
"""A data set's pictures are known again after what people do to pictures; those of other patients are no such."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from medti_components.apps.bundle_package.known_patients import KnownPictures, tiles_of
from medti_components.data.phantoms.chest_phantom import write_chest_studies
from medti_components.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[3]
NUM_KNOWN = 12


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory):
    """Radiographs of phantoms: paths, each of another patient."""
    folder = tmp_path_factory.mktemp("radiographs")
    write_chest_studies(folder, {"no_finding": 12, "cardiomegaly": 12}, 0, 0.0)
    return sorted(folder.rglob("*.jpg"))


@pytest.fixture(scope="session")
def known(radiographs):
    """Search among the first of them."""
    return KnownPictures(radiographs[:NUM_KNOWN])


def opened(path):
    with Image.open(path) as picture:
        return picture.convert("RGB")


def resized(picture):
    return picture.resize((96, 96), Image.Resampling.BICUBIC)


def cropped(picture):
    width, height = picture.size
    left, top = width // 20, height // 12
    return picture.crop((left, top, left + width * 9 // 10, top + height * 9 // 10))


def compressed(picture):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=50)
    return Image.open(stream)


def on_a_sheet(picture):
    sheet = Image.new("RGB", (300, 200), "white")
    sheet.paste(picture.resize((128, 128), Image.Resampling.BICUBIC), (100, 50))
    return sheet


CHANGES = {
    "resized": resized,
    "cropped": cropped,
    "compressed": compressed,
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "darker": lambda picture: picture.point(lambda value: value * 0.7),
    "all but mirrored": lambda picture: compressed(resized(cropped(picture))),
    "on a sheet": lambda picture: compressed(on_a_sheet(cropped(picture))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_picture_is_found(known, radiographs, change):
    assert known.among([change(opened(path)) for path in radiographs[:4]]) == radiographs[:4]


def test_pictures_of_other_patients_are_not_found(known, radiographs):
    others = [opened(path) for path in radiographs[NUM_KNOWN:]]
    assert known.among([*others, *map(on_a_sheet, others[:3])]) == [None] * (len(others) + 3)


def test_generated_contact_sheets_are_not_found(known):
    sheets = [opened(path) for path in sorted(REPOSITORY.glob("bundles/*/docs/*.png"))]
    assert known.among(sheets) == [None] * len(sheets)
    assert max(len([*tiles_of(sheet)]) for sheet in sheets) == 1 + 2 * 3 * 8


@pytest.mark.skipif("MEDTI_REAL_DATA" not in os.environ, reason="MEDTI_REAL_DATA names no folder of real data")
def test_real_radiographs_are_told_apart():
    paths = sorted(Path(os.environ["MEDTI_REAL_DATA"]).glob("nih_chest_xray/*/*.png"))[:24]
    pictures = [compressed(resized(cropped(opened(path)))) for path in paths]
    assert KnownPictures(paths[:12]).among(pictures) == [*paths[:12], *[None] * 12]


def test_nothing_is_found_in_nothing(known):
    assert known.among([]) == []
    assert KnownPictures([]).among([Image.new("L", (64, 64))]) == [None]


def test_damaged_picture_is_told(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"image '.*broken.png' can't be read \(.*\): remove or replace it"):
        KnownPictures([tmp_path / "broken.png"]).among([Image.new("L", (64, 64))])
