# SPDX-License-Identifier: Apache-2.0
"""What is to be classified: pictures of a folder or of a generating run, or prostate MRI studies, without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medti_components.data.classification.classifier_splits import check_dataset_format
from medti_components.data.datasets.picai_images import SEQUENCES, image_folders, volumes_by_study
from medti_components.data.datasets.picai_masks import GLANDS, masks_by_study
from medti_components.data.generated.generated_folder import GeneratedFolder
from medti_components.data.generated.provenance import PROVENANCE_FILE
from medti_components.errors import DataError

PICTURES = "pictures"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


class ClassificationInput:
    """Cases of a folder, and how they are to be prepared.

    - a generating run's ``output_dir`` (with ``provenance.jsonl``): its pictures, which are images already;
    - a PI-CAI data set, the folder of a patient in it, or any folder with ``<patient>_<study>_{t2w,adc,hbv}.mha``: its
      studies. Of each the slice that training takes of cases without a lesion: the median one of the gland's mask,
      where ``picai_labels/`` has one; else the middle slice of the T2W volume. No lesion mask is looked at;
    - any other folder: its pictures, or those in its ``images/``: radiographs where ``dataset_format`` says so, else
      square pictures that are images already.

    Args:
        dataset_dir: the folder, or one picture or ``..._t2w.mha`` file.
        dataset_format: what the classifier was trained on.

    Attributes:
        datalist: entries for ``preprocessing``; a picture's study_id is its path in the folder.
        format: of which the entries are: 'picai', 'chexpert', 'nih', or 'pictures' for images already.

    Raises:
        ConfigError: the format is unknown.
        DataError: there is nothing to classify, or a study lacks a sequence.
    """

    def __init__(self, dataset_dir: str | Path, dataset_format: str = "picai") -> None:
        check_dataset_format(dataset_format)
        folder = Path(dataset_dir)
        if not folder.exists():
            raise DataError(f"dataset_dir '{folder}' does not exist: set --dataset_dir to pictures or studies")
        volumes = _volumes(folder)
        if (folder / PROVENANCE_FILE).is_file() or [*folder.glob(f"*/{PROVENANCE_FILE}")]:
            run = GeneratedFolder(folder, image_size=1, key="dataset_dir")
            self.format = PICTURES
            self.datalist = [_picture(line.path, folder) for line in run.lines]
        elif volumes and dataset_format == "picai":
            self.format = "picai"
            glands: dict[str, list[Path]] = {}
            for root in (folder, *folder.resolve().parents[:3]):
                glands = masks_by_study(root / GLANDS) | glands  # the nearest folder's
            self.datalist = [_study(name, volumes[name], glands) for name in sorted(volumes)]
        else:
            self.format = dataset_format if dataset_format in ("chexpert", "nih") else PICTURES
            self.datalist = [_picture(path, folder) for path in _pictures(folder)]
        if not self.datalist:
            raise DataError(
                f"dataset_dir '{folder}' has no picture ({', '.join(PICTURE_SUFFIXES)}) and no study "
                "(<patient>_<study>_t2w.mha): set --dataset_dir to the folder that holds them"
            )


def _volumes(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the volumes of each study by sequence; those of one study where ``folder`` is its T2W volume."""
    if folder.is_file():
        (name,) = volumes_by_study([folder]) or {""}
        return {name: volumes_by_study(folder.parent.iterdir())[name]} if name else {}
    own = [path for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    paths = [path for images in image_folders(folder) for path in images.rglob("*")]
    return volumes_by_study(sorted({*own, *paths}))


def _pictures(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder] if folder.suffix.lower() in PICTURE_SUFFIXES else []
    paths = [*folder.glob("*"), *folder.glob("images/*")]
    return sorted(path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES)


def _picture(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder) if path.is_relative_to(folder) and path != folder else path.name
    return {"image": str(path), "concept": "", "label": 0, "patient_id": "", "study_id": str(name)}


def _study(name: str, volumes: Mapping[str, Path], glands: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    patient_id, _, study_id = name.rpartition("_")
    for sequence in SEQUENCES:
        if sequence not in volumes:
            expected = next(iter(volumes.values())).with_name(f"{name}_{sequence}.mha")
            raise DataError(f"study '{name}' has no {sequence.upper()} volume '{expected}': put it beside the others")
    return {
        **{sequence: str(volumes[sequence]) for sequence in SEQUENCES},
        # Where there is no mask the volume stands for it: what is above zero lies in all its slices.
        "mask": str(glands[name][0] if name in glands else volumes["t2w"]),
        "concept": "",
        "label": 0,
        "patient_id": patient_id or name,
        "study_id": study_id,
    }
