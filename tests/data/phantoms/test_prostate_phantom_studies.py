# SPDX-License-Identifier: Apache-2.0
import csv
import math

import numpy as np
import pytest
import SimpleITK
from crafted_picai import GLANDS, LESIONS, MARKSHEET

from medti_components.data.phantoms.prostate_phantom import prostate_phantom
from medti_components.data.phantoms.prostate_phantom_studies import COLUMNS, PhantomStudyId, write_prostate_studies
from medti_components.errors import ConfigError, OutputError

NEGATIVE = "1000000_10000000"
POSITIVE = "1500000_15000000"


def read(folder, path):
    return SimpleITK.ReadImage(str(folder / path))


def study_files(name):
    patient = name.split("_")[0]
    return [
        *(f"images/{patient}/{name}_{sequence}.mha" for sequence in ("t2w", "adc", "hbv")),
        str(GLANDS / f"Bosma22b/{name}.nii.gz"),
        str(LESIONS / f"human_expert/resampled/{name}.nii.gz"),
    ]


def rows(folder):
    with open(folder / MARKSHEET, newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_those_of_picai(phantom_picai):
    names = [f"{row['patient_id']}_{row['study_id']}" for row in rows(phantom_picai)]
    expected = {path for name in names for path in study_files(name)} | {str(MARKSHEET)}
    assert {str(path.relative_to(phantom_picai)) for path in phantom_picai.rglob("*.*")} == expected
    assert len(names) == 6


def test_geometry_is_that_of_picai(phantom_picai):
    t2w, adc, hbv, gland, lesion = (read(phantom_picai, path) for path in study_files(POSITIVE))
    assert t2w.GetSize() == (384, 384, 11)
    assert t2w.GetSpacing() == (0.5, 0.5, 3.0)
    assert (t2w.GetPixelID(), adc.GetPixelID(), hbv.GetPixelID()) == (SimpleITK.sitkInt16,) * 3
    for volume in (adc, hbv):
        assert volume.GetSize() == (84, 128, 11)
        assert volume.GetSpacing() == (2.0, 2.0, 3.0)
        assert volume.GetDirection() == t2w.GetDirection()
    for mask in (gland, lesion):
        assert mask.GetSize() == t2w.GetSize()
        np.testing.assert_allclose(mask.GetOrigin(), t2w.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(mask.GetDirection(), t2w.GetDirection(), atol=1e-5)
    # Axial slices tilted about the axis from right to left, as the real ones are.
    direction = np.reshape(t2w.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-9)
    assert direction[0].tolist() == [1, 0, 0]
    assert 0 <= math.acos(direction[1, 1]) <= 0.3


def test_coarse_grid_is_shifted_by_less_than_a_voxel(phantom_picai):
    t2w, adc, *_ = (read(phantom_picai, path) for path in study_files(POSITIVE))
    centres = [
        volume.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in volume.GetSize()])
        for volume in (t2w, adc)
    ]
    shift = np.reshape(t2w.GetDirection(), (3, 3)).T @ np.subtract(centres[1], centres[0])
    phantom = prostate_phantom(seed=0, index=0, is_positive=True)
    np.testing.assert_allclose(shift, [phantom.shift_mm[1], phantom.shift_mm[0], 0], atol=1e-6)
    assert 0 < np.abs(shift[:2]).max() < 1


def test_voxels_are_those_of_the_phantom(phantom_picai):
    phantom = prostate_phantom(seed=0, index=0, is_positive=True)
    for path, array in zip(
        study_files(POSITIVE), (phantom.t2w, phantom.adc, phantom.hbv, phantom.gland, phantom.lesion), strict=True
    ):
        assert np.array_equal(SimpleITK.GetArrayFromImage(read(phantom_picai, path)), array)


def test_masks_hold_the_grade_or_nothing(phantom_picai):
    for row in rows(phantom_picai):
        path = study_files(f"{row['patient_id']}_{row['study_id']}")[-1]
        assert SimpleITK.GetArrayFromImage(read(phantom_picai, path)).max() == int(row["case_ISUP"])


def test_marksheet_has_the_columns_of_picai(phantom_picai):
    table = rows(phantom_picai)
    assert tuple(table[0]) == COLUMNS
    assert [row["case_csPCa"] for row in table] == ["NO"] * 3 + ["YES"] * 3
    for row in table:
        assert row["center"] == "PHANTOM"
        assert float(row["psad"]) == pytest.approx(float(row["psa"]) / float(row["prostate_volume"]), abs=0.02)
        assert (row["lesion_ISUP"] or "0") == row["case_ISUP"]


def test_a_study_depends_on_seed_and_index_alone(phantom_picai, tmp_path):
    write_prostate_studies(tmp_path, num_negative=1, num_positive=0, seed=0, show_progress=False)
    for path in study_files(NEGATIVE):
        assert (tmp_path / path).read_bytes() == (phantom_picai / path).read_bytes()
    assert rows(tmp_path) == rows(phantom_picai)[:1]


def test_sets_of_different_seeds_can_lie_together(tmp_path):
    first = write_prostate_studies(tmp_path, 1, 1, seed=0, show_progress=False)
    second = write_prostate_studies(tmp_path, 1, 0, seed=1, show_progress=False)
    assert not set(first) & set(second)
    assert [f"{row['patient_id']}_{row['study_id']}" for row in rows(tmp_path)] == first + second
    write_prostate_studies(tmp_path, 1, 1, seed=0, show_progress=False)
    assert len(rows(tmp_path)) == 3


def test_no_two_studies_share_a_number():
    identities = [
        PhantomStudyId.of(seed, index, is_positive)
        for seed in range(3)
        for index in range(200)
        for is_positive in (False, True)
    ]
    assert len({identity.study_id for identity in identities}) == len(identities)
    patients = [identity.patient_id for identity in identities]
    assert len(patients) - len(set(patients)) == 3 * 2 * 200 // 25


def test_patients_marksheet_is_not_touched(tmp_path):
    (tmp_path / MARKSHEET).parent.mkdir(parents=True)
    text = ",".join(COLUMNS) + "\n10000,1000000,2019-07-02,73,7.7,,55,MRBx,4,0+0,0,0,NO,PCNN\n"
    (tmp_path / MARKSHEET).write_text(text)
    with pytest.raises(
        OutputError, match="marksheet.csv' lists studies that are no phantoms: choose another --output_dir"
    ):
        write_prostate_studies(tmp_path, 1, 1, seed=0, show_progress=False)
    assert (tmp_path / MARKSHEET).read_text() == text
    assert not (tmp_path / "images").exists()


def test_difficulties_are_not_mixed_in_a_folder(tmp_path):
    write_prostate_studies(tmp_path, 1, 0, seed=0, show_progress=False, difficulty="hard")
    assert (tmp_path / MARKSHEET).read_text().splitlines()[1].endswith("PHANTOM_HARD")
    with pytest.raises(OutputError, match="lists phantoms of another difficulty: choose another --output_dir$"):
        write_prostate_studies(tmp_path, 1, 0, seed=0, show_progress=False)
    with pytest.raises(ConfigError, match="^difficulty must be default or hard, got 'easy'"):
        write_prostate_studies(tmp_path, 1, 0, seed=0, show_progress=False, difficulty="easy")


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_negative", -1), ("num_positive", 1.5), ("seed", -1), ("seed", True), ("num_negative", 500001)],
)
def test_numbers_that_do_not_fit(tmp_path, key, value):
    arguments = {"num_negative": 1, "num_positive": 1, "seed": 0, key: value}
    with pytest.raises(
        ConfigError, match=f"^{key} must be a whole number from 0 to [0-9]+, got {value}: correct --{key}$"
    ):
        write_prostate_studies(tmp_path, **arguments, show_progress=False)


def test_output_that_is_not_writable(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="^output_dir '.*taken' is not writable"):
        write_prostate_studies(tmp_path / "taken", 1, 1, seed=0, show_progress=False)
