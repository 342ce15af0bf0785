# SPDX-License-Identifier: Apache-2.0
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from crafted_picai import GLANDS, LESIONS, MARKSHEET

from medti_components.data.phantoms.prostate_anatomy import Grid, draw_anatomy
from medti_components.data.phantoms.prostate_phantom import (
    COLUMNS,
    PhantomStudyId,
    _paint,
    prostate_phantom,
    write_prostate_studies,
)
from medti_components.errors import ConfigError, OutputError


@pytest.fixture(scope="module")
def positives():
    return [prostate_phantom(seed=0, index=index, is_positive=True) for index in range(8)]


@pytest.fixture(scope="module")
def negatives():
    return [prostate_phantom(seed=0, index=index, is_positive=False) for index in range(8)]


def on_coarse_grid(mask, phantom):
    """Take a mask of the T2W grid at the centres of the voxels of ADC and HBV."""
    rows = np.rint((np.arange(128) - 63.5) * 4 + phantom.shift_mm[0] * 2 + 191.5).astype(int)
    columns = np.rint((np.arange(84) - 41.5) * 4 + phantom.shift_mm[1] * 2 + 191.5).astype(int)
    inside = (rows >= 0) & (rows < 384)
    coarse = np.zeros((mask.shape[0], 128, 84), dtype=bool)
    coarse[:, inside] = mask[:, rows[inside]][:, :, columns] > 0
    return coarse


def test_arguments_alone_decide(positives):
    again = prostate_phantom(seed=0, index=3, is_positive=True)
    other = prostate_phantom(seed=1, index=3, is_positive=True)
    for name in ("t2w", "adc", "hbv", "gland", "lesion"):
        assert np.array_equal(getattr(again, name), getattr(positives[3], name))
        assert not np.array_equal(getattr(other, name), getattr(positives[3], name))


def test_second_study_of_a_patient_shows_the_same_anatomy_anew():
    first, second = (prostate_phantom(0, index, True, patient_index=23) for index in (23, 24))
    assert np.array_equal(first.lesion, second.lesion)
    assert not np.array_equal(first.t2w, second.t2w)


def test_volumes_have_the_types_and_ranges_of_scanners(positives, negatives):
    for phantom in (*positives, *negatives):
        assert {phantom.t2w.dtype, phantom.adc.dtype, phantom.hbv.dtype} == {np.dtype(np.int16)}
        assert phantom.t2w.min() == 0
        assert 700 <= phantom.t2w.max() <= 1100
        assert phantom.adc.max() == 3000
        assert 120 <= phantom.hbv.max() <= 200


def test_lesion_is_dark_on_adc_bright_on_hbv_and_dark_on_t2w(positives):
    for phantom in positives:
        lesion, gland = on_coarse_grid(phantom.lesion, phantom), on_coarse_grid(phantom.gland, phantom)
        rest = gland & ~lesion
        assert phantom.adc[lesion].mean() < 0.65 * phantom.adc[rest].mean()
        assert phantom.hbv[lesion].mean() > 1.8 * phantom.hbv[rest].mean()
        fine_rest = (phantom.gland > 0) & (phantom.lesion == 0)
        assert phantom.t2w[phantom.lesion > 0].mean() < 0.75 * phantom.t2w[fine_rest].mean()


def test_lesion_mask_holds_the_grade_within_the_gland(positives, negatives):
    for phantom in positives:
        assert set(np.unique(phantom.lesion)) == {0, phantom.isup_grade}
        assert np.all(phantom.gland[phantom.lesion > 0] == 1)
        areas_mm2 = (phantom.lesion > 0).sum(axis=(1, 2)) * 0.25
        assert areas_mm2.max() > 45  # a disc of 7.6 mm: over three pixels across at 64 pixels for 150 mm
        assert (areas_mm2 > 0).sum() >= 2
    for phantom in negatives:
        assert phantom.isup_grade == 0
        assert not phantom.lesion.any()


def test_brightest_voxel_does_not_tell_a_lesion(positives, negatives):
    """The scale of each sequence is set outside the gland, or scaling a volume by its extremes would give it away."""
    for phantom in (*positives, *negatives):
        gland = on_coarse_grid(phantom.gland, phantom)
        assert phantom.hbv[~gland].max() == phantom.hbv.max()
        assert phantom.adc[~gland].max() == phantom.adc.max()


def test_gland_is_of_human_size(positives, negatives):
    volumes_ml = [phantom.gland.sum() * 0.75 / 1000 for phantom in (*positives, *negatives)]
    assert 12 < min(volumes_ml) < max(volumes_ml) < 60
    assert max(volumes_ml) > 1.2 * min(volumes_ml)


def test_look_alikes_are_dark_on_adc_or_bright_on_hbv_and_a_lesion_both():
    """At the centre of each finding, against the same patient painted without any."""
    seen = set()
    for index in range(40):
        random = np.random.default_rng(index)
        anatomy = draw_anatomy(random, index % 2 == 0, "hard")
        if not anatomy.findings:
            continue
        grid = Grid.centred((11, 128, 84), (3.0, 2.0, 2.0))
        with_findings = _paint(anatomy, grid, (0, 1, 2), 2.0, 2.0)
        without = _paint(replace(anatomy, findings=[]), grid, (0, 1, 2), 2.0, 2.0)
        shape, shares = anatomy.findings[-1]  # painted last: nothing lies over it
        u, v, s = shape.centre_mm
        voxel = tuple(np.abs(axis - place).argmin() for axis, place in ((grid.s, s), (grid.v, v), (grid.u, u)))
        others = [each for each, _ in anatomy.findings[:-1]]
        if any(np.linalg.norm(np.subtract(each.centre_mm, shape.centre_mm)) < 15 for each in others):
            continue
        change = [float(after[voxel] - before[voxel]) for after, before in zip(with_findings, without, strict=True)]
        assert (change[1] < -0.03) == (shares[1] > 0)
        assert (change[2] > 0.03) == (shares[2] > 0)
        seen.add(tuple(share > 0 for share in shares))
    assert seen == {(True, True, True), (True, True, False), (False, False, True)}


def test_hard_studies_have_the_lesion_s_mask_all_the_same():
    phantom = prostate_phantom(seed=0, index=1, is_positive=True, difficulty="hard")
    assert set(np.unique(phantom.lesion)) == {0, phantom.isup_grade}
    assert not prostate_phantom(seed=0, index=1, is_positive=False, difficulty="hard").lesion.any()


NEGATIVE = "1000000_10000000"
POSITIVE = "1500000_15000000"


def read(folder, path):
    return SimpleITK.ReadImage(str(folder / path))


def study_files(name):
    patient = name.split("_")[0]
    return [
        *(f"images/{patient}/{name}_{sequence}.mha" for sequence in ("t2w", "adc", "hbv")),
        str(GLANDS / f"AI/Bosma22b/{name}.nii.gz"),
        str(LESIONS / f"human_expert/resampled/{name}.nii.gz"),
    ]


def rows(folder):
    with open(folder / MARKSHEET, newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_those_of_picai(phantom_picai):
    names = [f"{row['patient_id']}_{row['study_id']}" for row in rows(phantom_picai)]
    expected = {path for name in names for path in study_files(name)} | {str(MARKSHEET), "phantoms.json"}
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
