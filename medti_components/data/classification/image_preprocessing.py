# SPDX-License-Identifier: Apache-2.0
"""From a case of any supported data set to a classifier's image, as the textual inversion bundles' configs have it."""

from collections.abc import Sequence
from typing import Any

import monai.transforms as mt

from medti_components.data.datasets.finding_datalist import check_dataset_format
from medti_components.data.datasets.grey_image_reader import GreyImageReader
from medti_components.data.datasets.patch_camelyon_files import LoadPatchd
from medti_components.data.datasets.simpleitk_reader import SimpleITKReader
from medti_components.transforms.brighter_than import BrighterThan
from medti_components.transforms.lesion_slice import LesionSliced
from medti_components.transforms.load_picture import LoadPictured
from medti_components.transforms.resize_image import ResizeImaged
from medti_components.transforms.stack_sequences import StackSequencesd

PICTURES = "pictures"
VOLUMES = ("t2w", "adc", "hbv")


def image_preprocessing(
    dataset_format: str,
    image_size: int,
    sequences: Sequence[str] = VOLUMES,
    field_of_view_mm: float = 150.0,
) -> mt.Compose:
    """Return the transform of a case to its image (3, image_size, image_size) in [-1, 1].

    The same as ``preprocessing`` of the bundle that learns words from such a data set: what is generated and what is
    real differ in nothing else than that.

    Args:
        dataset_format: 'picai' (one axial slice; anterior up, the patient's right on the left), 'chexpert', 'nih',
            'pcam', or 'pictures' (square pictures that are images already).
        image_size: height and width, in pixels.
        sequences: of prostate MRI, the channels: three, or one for all.
        field_of_view_mm: of prostate MRI, edge of the square.

    Raises:
        ConfigError: the format is unknown, or the sequences don't fit.

    >>> [type(transform).__name__ for transform in image_preprocessing("pcam", 96).transforms][:2]
    ['LoadPatchd', 'ResizeImaged']
    """
    if dataset_format != PICTURES:
        check_dataset_format(dataset_format)
    if dataset_format == PICTURES:
        first: list[mt.Transform] = [LoadPictured(keys="image", size=image_size)]
    elif dataset_format == "picai":
        first = _axial_slice(image_size, sequences, field_of_view_mm)
    elif dataset_format == "pcam":
        first = [LoadPatchd(keys="image", row_key="row"), ResizeImaged(keys="image", size=image_size), _scaled(255.0)]
    else:
        first = _radiograph(image_size)
    return mt.Compose(
        transforms=[
            *first,
            mt.EnsureTyped(keys="image", track_meta=False),
            mt.SelectItemsd(keys=["image", "concept", "label", "patient_id", "study_id"]),
        ]
    )


def _axial_slice(image_size: int, sequences: Sequence[str], field_of_view_mm: float) -> list[mt.Transform]:
    read = [*VOLUMES, "mask"]
    reader: Any = SimpleITKReader()
    edge = round(field_of_view_mm / 0.5)
    return [
        mt.LoadImaged(keys=read, reader=reader, ensure_channel_first=True),
        mt.Orientationd(keys=read, axcodes="SPL", labels=None),
        mt.ScaleIntensityd(keys=list(VOLUMES), minv=0.0, maxv=1.0),
        mt.Spacingd(keys="t2w", pixdim=[3.0, 0.5, 0.5], mode="bilinear"),
        mt.ResampleToMatchd(keys="mask", key_dst="t2w", mode="nearest", padding_mode="zeros"),
        mt.ResizeWithPadOrCropd(keys=["t2w", "mask"], spatial_size=[30, edge, edge]),
        LesionSliced(keys=["t2w"], mask_key="mask", label_key="label"),
        mt.ResampleToMatchd(keys=["adc", "hbv"], key_dst="t2w", mode="bilinear", padding_mode="zeros"),
        StackSequencesd(sequences=sequences, name="image"),
        ResizeImaged(keys="image", size=image_size),
        _scaled(1.0),
    ]


def _radiograph(image_size: int) -> list[mt.Transform]:
    reader: Any = GreyImageReader()
    return [
        mt.LoadImaged(keys="image", reader=reader, ensure_channel_first=True),
        mt.CropForegroundd(
            keys="image",
            source_key="image",
            select_fn=BrighterThan(threshold=8),
            allow_smaller=True,
            start_coord_key=None,
            end_coord_key=None,
        ),
        ResizeImaged(keys="image", size=image_size, keep_shape=True),
        mt.SpatialPadd(keys="image", spatial_size=image_size, method="symmetric", mode="constant"),
        mt.RepeatChanneld(keys="image", repeats=3),
        _scaled(255.0),
    ]


def _scaled(highest: float) -> mt.Transform:
    return mt.ScaleIntensityRanged(keys="image", a_min=0.0, a_max=highest, b_min=-1.0, b_max=1.0, clip=True)
