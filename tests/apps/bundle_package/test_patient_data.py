# SPDX-License-Identifier: Apache-2.0
"""Planted traces of patients are found; what a bundle rightly holds is not taken for one."""

import json

import numpy as np
import pytest
import torch
from configs_of_bundles import BUNDLES, short_name
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from smooth_images import smooth_images

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.known_patients import KnownPatients
from medti_components.apps.bundle_package.patient_data import patient_data
from medti_components.errors import DataError
from medti_components.transforms.eight_bit_picture import to_pixels


@pytest.fixture
def bundle(tmp_path):
    """Folder of a bundle that tells of nobody."""
    folder = tmp_path / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "docs").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps({"version": "0.1.0", "num_cases": 10000}))
    (folder / "docs" / "README.md").write_text("A word learned in 10000 steps, by patient_id; 100 patients.\n")
    return folder


def found(folder, known=None, components=None):
    return [*patient_data(Bundle(folder).named_files(), components, known)]


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)


def plant_text(name, text):
    def plant(folder):
        (folder / name).write_text(text)

    return plant


def plant_json(**content):
    return plant_text("configs/extra.json", json.dumps(content))


def plant_bytes(name, content):
    def plant(folder):
        (folder / name).write_bytes(content)

    return plant


def plant_metadata(**metadata):
    def plant(folder):
        save_file({"<word>": torch.zeros(1, 4)}, folder / "models" / "word.safetensors", metadata)

    return plant


def plant_picture(**options):
    def plant(folder):
        Image.fromarray(pixels()).save(folder / "docs" / "sheet.png", **options)

    return plant


def chunk(key, text):
    chunks = PngInfo()
    chunks.add_text(key, text)
    return chunks


def exif():
    facts = Image.Exif()
    facts[0x010E] = "prone"  # ImageDescription
    return facts


PLANTS = {
    "path in metadata.json": (
        plant_text("configs/metadata.json", json.dumps({"version": "0.1.0", "dataset_dir": "/data/hospital/picai"})),
        "configs/metadata.json has, at dataset_dir, a path: '/data/hospital/picai'",
    ),
    "path in a file's metadata": (
        plant_metadata(dataset_dir="/data/hospital/picai"),
        "models/word.safetensors has, at dataset_dir, a path: '/data/hospital/picai'",
    ),
    "path in nested metadata": (
        plant_metadata(settings=json.dumps({"cache": "/home/doctor/cache"})),
        "models/word.safetensors has, at settings::cache, a path: '/home/doctor/cache'",
    ),
    "path in a text": (
        plant_text("docs/notes.txt", "taken from C:\\Users\\doctor\\scans"),
        "docs/notes.txt has, at line 1, a path: 'C:\\Users\\doctor\\scans'",
    ),
    "patient id in JSON": (
        plant_json(cases=[{"patient_id": "4711"}]),
        "configs/extra.json has a patient's identifier: 'patient_id\": \"4711'",
    ),
    "patient ids in JSON": (
        plant_json(patient_ids=["A1", "A2"]),
        "configs/extra.json has a patient's identifier: 'patient_ids\": [\"A1'",
    ),
    "number of a patient in JSON": (
        plant_json(patient=[{"study_id": 77}]),
        "configs/extra.json has a patient's identifier: 'study_id\": 77'",
    ),
    "study of PI-CAI": (
        plant_json(cases=["10417_1000424"]),
        "configs/extra.json has, at cases::0, a study of PI-CAI: '10417_1000424'",
    ),
    "patient of CheXpert": (
        plant_text("docs/cases.csv", "path\nCheXpert-v1.0-small/train/patient00007/study1/view1_frontal.jpg\n"),
        "docs/cases.csv has, at line 2, a patient of CheXpert: 'patient00007'",
    ),
    "image of NIH": (
        plant_text("docs/data_license.txt", "see 00000013_005.png"),
        "docs/data_license.txt has, at line 1, an image of NIH ChestX-ray14: '00000013_005.png'",
    ),
    "patient in the page": (
        plant_text("docs/README.md", "like patient 10417\n"),
        "docs/README.md has, at line 1, a patient's identifier: 'patient 10417'",
    ),
    "table of patients": (
        plant_text("docs/cases.csv", "label,patient_id\n1,17\n"),
        "docs/cases.csv has, at line 1, a table of patients: ',patient_id'",
    ),
    "patient in a file's name": (
        plant_text("docs/10417_1000424_t2w.txt", "a slice"),
        "the name of docs/10417_1000424_t2w.txt is a study of PI-CAI: '10417_1000424'",
    ),
    "DICOM tag": (
        plant_text("docs/notes.txt", "(0010,0020) LO [A-17]"),
        "docs/notes.txt has, at line 1, a DICOM tag: '(0010,0020)'",
    ),
    "DICOM keyword": (
        plant_json(InstitutionName="General"),
        "configs/extra.json has a DICOM tag: 'InstitutionName'",
    ),
    "DICOM identifier": (
        plant_metadata(series="1.2.840.113619.2.55.3.604688119"),
        "models/word.safetensors has, at series, a DICOM identifier: '1.2.840.113619.2.55.3.604688119'",
    ),
    "DICOM file": (plant_bytes("models/scan.dcm", b"\1\2"), "models/scan.dcm is or contains a DICOM file"),
    "DICOM preamble": (
        plant_bytes("docs/figure.png", b"x" * 128 + b"DICM\2\0"),
        "docs/figure.png is or contains a DICOM file",
    ),
    "DICOM file behind something": (
        plant_bytes("docs/notes.bin", b"notes" + b"\0" * 128 + b"DICM"),
        "docs/notes.bin is or contains a DICOM file",
    ),
    "volume": (plant_bytes("models/t2w.mha", b"ObjectType"), "models/t2w.mha is a file of medical images or arrays"),
    "compressed volume": (plant_bytes("a.nii.gz", b"\x1f\x8b"), "a.nii.gz is a file of medical images or arrays"),
    "unknown content": (
        plant_bytes("models/latents.bin", b"\0\xff" * 9),
        "models/latents.bin is neither text nor safetensors, PNG or JPEG: what it holds can't be told",
    ),
    "text in a picture": (
        plant_picture(pnginfo=chunk("Comment", "Jane")),
        "docs/sheet.png has a text 'Comment' that generated pictures have not",
    ),
    "patient in a picture's prompt": (
        plant_picture(pnginfo=chunk("prompt", "10417_1000424")),
        "docs/sheet.png has, at prompt, a study of PI-CAI: '10417_1000424'",
    ),
    "EXIF": (plant_picture(exif=exif()), "docs/sheet.png has EXIF data"),
    "picture as text": (
        plant_text("docs/report.html", '<img src="data:image/png;base64,iVBOR">'),
        "docs/report.html has, at line 1, a picture as text: 'data:image/'",
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_planted_trace_is_found(bundle, plant):
    put, line = plant
    assert found(bundle) == []
    put(bundle)
    assert found(bundle) == [line]


@pytest.mark.parametrize("source", BUNDLES, ids=short_name)
def test_the_repository_s_bundles_have_none_but_in_an_example(source):
    """The page of the prostate bundle names a study as an example of an image to paint into; it is not packed."""
    lines = [line for line in found(source) if not line.startswith("docs/README.md")]
    assert lines == []


def test_sources_of_the_components_are_not_a_run_s(bundle):
    (bundle / "own").mkdir()
    (bundle / "own" / "chexpert.py").write_text("# train/patient00001/study1\n")
    assert found(bundle, components="own") == []
    assert found(bundle) == ["own/chexpert.py has, at line 1, a patient of CheXpert: 'patient00001'"]


def drawn(number, name):
    """Return pictures that look like no other, as of one kind of scan."""
    return [Image.fromarray(to_pixels(image)) for image in smooth_images(number, name, edge=160)]


@pytest.fixture
def dataset(tmp_path):
    """Folder of a hospital's pictures and a table."""
    folder = tmp_path / "hospital"
    (folder / "AB-12345").mkdir(parents=True)
    Image.fromarray(pixels()).save(folder / "AB-12345" / "scan_20240.png")
    Image.fromarray(pixels(1)).save(folder / "other.jpg")
    (folder / "table.csv").write_text("Patient ID,sex\n10000,f\n12,m\nXY998877,f\n")
    return folder


def test_training_image_is_found_by_its_bytes(bundle, dataset):
    (bundle / "docs" / "sheet.png").write_bytes((dataset / "AB-12345" / "scan_20240.png").read_bytes())
    assert found(bundle, KnownPatients(dataset)) == [
        "docs/sheet.png is the file 'AB-12345/scan_20240.png' of dataset_dir",
        "docs/sheet.png is the image 'AB-12345/scan_20240.png' of dataset_dir, pixel for pixel",
    ]


def test_training_image_that_was_saved_anew_is_found_by_its_pixels(bundle, dataset):
    Image.fromarray(pixels()).convert("RGB").save(bundle / "docs" / "sheet.png", compress_level=1)
    Image.fromarray(pixels(2)).save(bundle / "docs" / "another.png")
    assert found(bundle, KnownPatients(dataset)) == [
        "docs/sheet.png is the image 'AB-12345/scan_20240.png' of dataset_dir, pixel for pixel"
    ]


def test_training_image_on_a_sheet_is_found_though_made_smaller_and_compressed(bundle, dataset):
    [image] = drawn(1, "a patient")
    image.save(dataset / "other.jpg")
    sheet = Image.new("RGB", (420, 200), "white")
    for place, tile in ((6, drawn(1, "generated")[0]), (140, image)):
        sheet.paste(tile.resize((128, 128)), (place, 50))
    sheet.save(bundle / "docs" / "sheet.jpg", quality=50)
    assert found(bundle, KnownPatients(dataset)) == [
        "docs/sheet.jpg shows the image 'other.jpg' of dataset_dir, resized, cropped or compressed"
    ]


@pytest.mark.parametrize("name", ["AB-12345", "scan_20240", "20240", "XY998877", "10000"])
def test_names_of_the_data_set_are_found(bundle, dataset, name):
    plant_json(cases=[name])(bundle)
    [line] = found(bundle, KnownPatients(dataset))
    assert (
        line == f"configs/extra.json has, at cases::0, what names a patient, study or folder in dataset_dir: '{name}'"
    )


def test_folder_of_the_data_set_is_found(bundle, dataset):
    (bundle / "docs" / "README.md").write_text(f"Learned from {dataset}.\n")
    lines = found(bundle, KnownPatients(dataset))
    assert lines[-1].endswith(f"what names a patient, study or folder in dataset_dir: '{dataset}'")


def test_a_number_of_steps_is_no_patient_of_the_same_number(bundle, dataset):
    """10000 is a patient of the table; a JSON number, metadata that is a number and prose are no names."""
    plant_json(max_steps=10000, few="12", size="2024")(bundle)
    plant_metadata(steps="10000")(bundle)
    assert found(bundle, KnownPatients(dataset)) == []


def test_missing_and_damaged_data_sets_are_told(dataset, tmp_path):
    with pytest.raises(DataError, match="dataset_dir '.*nowhere' is no folder: give that of the training images"):
        KnownPatients(tmp_path / "nowhere")
    (dataset / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"image '.*broken.png' can't be read \(.*\): remove or replace it"):
        KnownPatients(dataset).same_pixels(Image.fromarray(pixels()))
    (dataset / "broken.csv").write_bytes(b"Patient ID\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"table '.*broken.csv' can't be read \(.*\): correct or remove it"):
        KnownPatients(dataset)
