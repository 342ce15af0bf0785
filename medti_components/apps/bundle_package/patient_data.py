# SPDX-License-Identifier: Apache-2.0
"""Whether what is about to be shared has traces of patients in it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open

from medti_components.apps.bundle_checks.contents import PERSONAL_PATH
from medti_components.apps.bundle_package.known_patients import KnownPatients
from medti_components.bundle.keys import entries
from medti_components.errors import BundleError
from medti_components.networks.embedding_files.embedding_file import printable

MEDICAL_SUFFIXES = (
    *(".dcm", ".dicom", ".ima", ".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".img", ".hdr"),
    *(".h5", ".hdf5", ".npy", ".npz", ".svs", ".tif", ".tiff"),
)
DICOM_KEYWORDS = (
    "PatientName|PatientID|PatientBirthDate|PatientSex|PatientAge|AccessionNumber|InstitutionName|"
    "ReferringPhysicianName|StudyDate|StudyInstanceUID|SeriesInstanceUID|SOPInstanceUID"
)
IDENTIFIED = "a patient's identifier"
MEMBER = re.compile(  # a name with its value, in JSON or elsewhere
    r"(?i:\b(?:patient|study|subject|case)[ _]?(?:id|name|number)s?['\"]?\s*[:=][\s\[('\"]*[\w-]+)"
)
PATTERNS = {
    "a study of PI-CAI": re.compile(r"(?<!\d)1\d{4}_1\d{6}(?!\d)"),
    "a patient of CheXpert": re.compile(r"(?<![A-Za-z])patient\d{5}\b"),
    "an image of NIH ChestX-ray14": re.compile(r"(?<!\d)\d{8}_\d{3}\.(?:png|jpg)\b"),
    IDENTIFIED: re.compile(rf"{MEMBER.pattern}|(?i:\bpatient\W{{1,3}}\d{{3,}})"),
    "a table of patients": re.compile(r"(?im)^['\"]?patient[ _]?id['\"]?,|,['\"]?patient[ _]?id['\"]?(?:,|$)"),
    "a DICOM tag": re.compile(rf"\((?:00[0-4][08]|0010),\s?[0-9A-Fa-f]{{4}}\)|\b(?:{DICOM_KEYWORDS})\b"),
    "a DICOM identifier": re.compile(r"(?<![\w.])[0-2](?:\.\d+){6,}(?![\w.])"),
    "a picture as text": re.compile(r"data:image/"),
}
PATH_VALUE = re.compile(r"(?:/|~/|[A-Za-z]:[\\/]|\\\\)[\w.-]+[/\\]")
OWN_TEXT_CHUNKS = ("Software", "synthetic", "prompt", "prompts", "seed", "base_model")  # of generated pictures
PREAMBLE = re.compile(rb"\A.{128}DICM|\0{128}DICM", re.DOTALL)
NUM_SHOWN = 5
WRITTEN_HERE = "models/model.pt"  # from the tensors of files that are looked into


def patient_data(files: Mapping[str, Path], components: str | None, known: KnownPatients | None) -> Iterator[str]:
    """Yield a line for each trace of patients in what is about to be packed or uploaded.

    Files are told apart by content. Texts, safetensors files, and PNG and JPEG pictures are searched for paths,
    identifiers and DICOM tags, pictures for texts and EXIF too. All other files are reported: their content is unknown.

    Args:
        files: by their names where they will be.
        components: name of the copied components, whose texts are no run's; its hash covers their files.
        known: names and images of a data set to look for.
    """
    for name, path in files.items():
        found = _traces(name, known) if not name.startswith(f"{components}/") else ()
        yield from (f"the name of {name} is {trace}" for trace in found)
        yield from (f"{name} {problem}" for problem in _problems(path, name, components, known))
    if known is not None:
        opened = {name: picture for name, path in files.items() if (picture := _opened(path)) is not None}
        pictures = {name: picture for name, picture in opened.items() if known.same_pixels(picture) is None}
        for name, image in zip(pictures, known.shown([*pictures.values()]), strict=True):
            if image is not None:
                yield f"{name} shows the image '{image}' of dataset_dir, resized, cropped or compressed"


def _problems(path: Path, name: str, components: str | None, known: KnownPatients | None) -> Iterator[str]:
    content = path.read_bytes()
    if known is not None and (image := known.same_file(content)) is not None:
        yield f"is the file '{image}' of dataset_dir"
    if path.name.lower().endswith((".dcm", ".dicom", ".ima")) or PREAMBLE.search(content):
        yield "is or contains a DICOM file"
    elif path.name.lower().endswith(MEDICAL_SUFFIXES):
        yield "is a file of medical images or arrays"
    elif name != WRITTEN_HERE and not name.startswith(f"{components}/"):
        said = _texts(path, content)
        if said is None:
            problems, texts = _picture(path, known)
            yield from problems
        else:
            texts, members = said
            yield from (
                f"has {IDENTIFIED}: '{printable(found[0], 80)}'" for found in map(MEMBER.search, members) if found
            )
        yield from (problem for place, text in texts for problem in _text_problems(place, text, path.suffix, known))


def _text_problems(place: str, text: str, suffix: str, known: KnownPatients | None) -> Iterator[str]:
    where = f"has, at {place}," if place else "has"
    if path := PATH_VALUE.match(text) or PERSONAL_PATH.search(text):
        yield f"{where} a path: '{printable(path.string[path.start() :], 80)}'"
    yield from (f"{where} {trace}" for trace in _traces(text, known, numbers=suffix != ".md"))


def _traces(text: str, known: KnownPatients | None, numbers: bool = True) -> Iterator[str]:
    for what, pattern in PATTERNS.items():
        if found := pattern.search(text):
            yield f"{what}: '{printable(found[0], 80)}'"
    if known is not None and (trace := known.trace(text, numbers)) is not None:
        yield f"what names a patient, study or folder in dataset_dir: '{trace}'"


def _texts(path: Path, content: bytes) -> tuple[list[tuple[str, str]], list[str]] | None:
    """Return the texts of a text or safetensors file by place, and its JSON as it stands; None for other files."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                said = {**(file.metadata() or {}), "tensors": json.dumps([*file.keys()])}
        except SafetensorError:
            return None
        texts = [text for key, value in said.items() for text in _strings(_parsed(value), key)]
        return texts, [f"{key}: {value}" for key, value in said.items()]
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    if path.suffix == ".json":
        return [*_strings(_parsed(text), "")], [text]
    return [(f"line {number}", line) for number, line in enumerate(text.splitlines(), start=1)], []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield keys and texts, but no numbers: a number of steps may equal a patient's."""
    for where, entry in entries(value, place):
        if isinstance(entry, dict):
            yield from ((where, str(key)) for key in entry)
        elif isinstance(entry, str):
            yield where, entry


def _picture(path: Path, known: KnownPatients | None) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what is wrong with a picture, and the texts in it, which are searched next."""
    picture = _opened(path)
    if picture is None:
        return ["is neither text nor safetensors, PNG or JPEG: what it holds can't be told"], []
    texts: dict[str, str] = {key: str(value) for key, value in getattr(picture, "text", {}).items()}
    texts |= {key: str(picture.info[key]) for key in ("comment", "xmp", "photoshop") if key in picture.info}
    problems = [
        f"has a text '{printable(key, 40)}' that generated pictures have not"
        for key in sorted(texts.keys() - set(OWN_TEXT_CHUNKS))
    ]
    if picture.getexif() or "exif" in picture.info:
        problems.append("has EXIF data")
    if known is not None and (image := known.same_pixels(picture)) is not None:
        problems.append(f"is the image '{image}' of dataset_dir, pixel for pixel")
    return problems, list(texts.items())


def _opened(path: Path) -> Image.Image | None:
    """Return a PNG or JPEG picture, or None for other and for damaged files."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
    return picture


def ensure_nothing_found(found: Iterable[str], done: str) -> None:
    """Refuse to share where traces of patients were found.

    Args:
        found: one line per trace.
        done: what is refused, such as "packed".

    Raises:
        BundleError: there is a trace.

    >>> ensure_nothing_found(["scan.dcm is or contains a DICOM file"], "packed")
    Traceback (most recent call last):
    ...
    medti_components.errors.BundleError: not packed, remove first: scan.dcm is or contains a DICOM file
    """
    lines = [*found]
    if lines:
        more = f"; and {len(lines) - NUM_SHOWN} more" if len(lines) > NUM_SHOWN else ""
        raise BundleError(f"not {done}, remove first: {'; '.join(lines[:NUM_SHOWN])}{more}")
