# SPDX-License-Identifier: Apache-2.0
import numpy as np
import SimpleITK
import torch
from inpainting_runs import canvas_of, engine_of

from medti_components.data.requests.inpainting_input import load_inpainting_input
from medti_components.handlers.volume_saver import InpaintedVolumeSaver, SequenceVolumeSaver
from medti_components.inferers.inpainting_canvas import InpaintingCanvas

SEQUENCES = ["t2w", "adc", "hbv"]


def test_picture_gives_volumes_of_what_it_shows(tmp_path):
    canvas = canvas_of(np.zeros((32, 32, 3), np.uint8))
    saver = InpaintedVolumeSaver(tmp_path, canvas, SequenceVolumeSaver(tmp_path, SEQUENCES, 16.0))
    saver(engine_of(torch.ones(1, 3, 32, 32)))
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "volumes" / "a_0_adc.mha"))[0]
    expected = np.zeros((32, 32))
    expected[10:20, 12:24] = 1.0
    np.testing.assert_allclose(array, expected, atol=1e-6)
    assert not (tmp_path / "volumes" / "a_0_mask.mha").exists()


def test_volumes_are_written_with_the_slice_painted_and_their_mask(tmp_path):
    array = np.random.default_rng(0).integers(0, 900, (3, 48, 48)).astype(np.int16)
    for sequence in SEQUENCES:
        volume = SimpleITK.GetImageFromArray(array)
        volume.SetSpacing((0.5, 0.5, 3.0))
        SimpleITK.WriteImage(volume, tmp_path / f"1_{sequence}.mha")
    source = load_inpainting_input(
        tmp_path / "1_t2w.mha", "box(2,2,10,10) mm", SEQUENCES, field_of_view_mm=16.0, slice_index=1
    )
    canvas = InpaintingCanvas(source, mask_blur=0.0)
    saver = InpaintedVolumeSaver(tmp_path, canvas, SequenceVolumeSaver(tmp_path, SEQUENCES, 16.0))
    saver(engine_of(torch.full((1, 3, 32, 32), -1.0)))
    expected = array.copy()
    expected[1, 8 + 4 : 8 + 20, 8 + 4 : 8 + 20] = array.min()  # the square of 32 pixels lies in the middle of 48
    for sequence in SEQUENCES:
        written = SimpleITK.ReadImage(tmp_path / "volumes" / f"a_0_{sequence}.mha")
        assert np.array_equal(SimpleITK.GetArrayFromImage(written), expected)
        assert written.GetMetaData("Synthetic") == "slice 1 painted"
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "volumes" / "a_0_mask.mha"))
    assert int(mask.sum()) == int(mask[1, 12:28, 12:28].sum()) == 256
