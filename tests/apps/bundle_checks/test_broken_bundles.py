# SPDX-License-Identifier: Apache-2.0
"""A bundle broken in one way fails the check of that name, which says what to do."""

import hashlib
import json
import os
import re
import shutil

import pytest
import torch

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_checks.checks import EXECUTING, READING, checked


def found(folder, name):
    (result,) = checked(Bundle(folder), folder.parent, names=[name])
    return result


def edited(file, *keys, value=None):
    """Return a way to break a bundle: set the value at ``keys`` in a JSON file, or remove it where there is none."""

    def change(folder):
        path = folder / "configs" / file
        content = json.loads(path.read_text())
        level = content
        for key in keys[:-1]:
            level = level[key]
        if value is None:
            del level[keys[-1]]
        else:
            level[keys[-1]] = value
        path.write_text(json.dumps(content))

    return change


def written(name, content):
    """Return a way to break a bundle: replace a file, or append to it where the content begins with a plus."""

    def change(folder):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        before = path.read_text() if content.startswith("+") else ""
        path.write_text(before + content.removeprefix("+"))

    return change


def removed(name):
    return lambda folder: (folder / name).unlink()


def replaced(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def large(folder):
    (folder / "models").mkdir()
    with open(folder / "models" / "big.safetensors", "wb") as file:
        file.truncate(25_000_000)


def linked(folder):
    (folder / "docs" / "page.md").symlink_to("README.md")


def packaged(content):
    def change(folder):
        (folder / "models").mkdir()
        torch.save(content, folder / "models" / "model.pt")

    return change


def both(*changes):
    return lambda folder: [change(folder) for change in changes]


META, TRAIN, INFER, EVALUATE = "metadata.json", "train.json", "inference.json", "evaluate.json"
ROWS = {"<a>": torch.zeros(2, 4)}
LARGE = "large_files:\n- {path: docs/README.md, url: 'https://x.org/a', hash_val: '0', hash_type: md5}\n"
UNPACKED_ZIP = both(packaged(ROWS), written("SHA256SUMS", f"{'0' * 64}  docs/README.md\n"))
BROKEN = {
    "metadata removed": ("structure", removed("configs/metadata.json"), "configs/metadata.json is missing: write it"),
    "logging.conf removed": ("structure", removed("configs/logging.conf"), "configs/logging.conf is missing"),
    "config cut off": (
        "structure",
        written("configs/train.json", '{"seed": 0,'),
        "train.json can't be read (Expecting",
    ),
    "key twice": (
        "structure",
        written("configs/train.json", '{"seed": 0, "seed": 1}'),
        "train.json can't be read (Dup",
    ),
    "config not an object": (
        "structure",
        written("configs/train.json", "[]"),
        "holds no JSON object with keys): correct",
    ),
    "link in place of a file": ("structure", linked, "docs/page.md is a symbolic link: put the file itself there"),
    "packaged without inference": (
        "structure",
        both(packaged(ROWS), removed("configs/inference.json")),
        "configs/inference.json is missing: write it",
    ),
    "nothing to run": (
        "structure",
        both(*(removed(f"configs/{name}") for name in (TRAIN, INFER, EVALUATE))),
        "configs/ has none of train.json, inference.json, evaluate.json: write what the bundle can run",
    ),
    "keys not described": (
        "keys",
        removed("docs/keys.schema.json"),
        "docs/keys.schema.json is missing: describe the configs' top-level keys in it",
    ),
    "a key not described": (
        "keys",
        edited(TRAIN, "extra", value=1),
        "configs/train.json: 'extra' is not described: add it to docs/keys.schema.json",
    ),
    "value not allowed": (
        "keys",
        edited(TRAIN, "batch_size", value=-1),
        "configs/train.json: batch_size must be at least 1, got -1: correct --batch_size",
    ),
    "table of keys left out": (
        "keys",
        replaced("docs/README.md", "<!-- keys of configs/train.json -->", ""),
        "docs/README.md has no table of the keys of configs/train.json: add the lines",
    ),
    "table of keys of before": (
        "keys",
        edited(TRAIN, "max_steps", value=7),
        "docs/README.md has tables of keys that are not up to date: run python -m medti_components key_tables",
    ),
    "task missing": ("metadata", edited(META, "task"), "'task' is a required property: add it"),
    "authors as a list": (
        "metadata",
        edited(META, "authors", value=["A"]),
        "authors: ['A'] is not of type 'string': wri",
    ),
    "package not pinned": (
        "metadata",
        edited(META, "required_packages_version", "fire", value=">=0.7"),
        "required_packages_version::fire: '>=0.7' does not match",
    ),
    "tensor without dtype": (
        "metadata",
        edited(META, "network_data_format", "outputs", "pred", "dtype"),
        "network_data_format::outputs::pred: 'dtype' is a required property: add it",
    ),
    "version not in the changelog": (
        "changelog",
        edited(META, "version", value="0.2.0"),
        "'0.2.0' is not in the changelog",
    ),
    "no changelog": ("changelog", edited(META, "changelog"), "has no object 'changelog': add one"),
    "changelog of no version": (
        "changelog",
        edited(META, "changelog", "new", value="x"),
        "'new' is no version such as",
    ),
    "empty entry of the changelog": (
        "changelog",
        edited(META, "changelog", "0.1.0", value=" "),
        "does not say what is new",
    ),
    "LICENSE removed": ("licence", removed("LICENSE"), "LICENSE is missing: add it"),
    "terms of the data empty": ("licence", written("docs/data_license.txt", "\n"), "data_license.txt is empty: write"),
    "page removed": ("docs", removed("docs/README.md"), "docs/README.md is missing: write it"),
    "section left out": (
        "docs",
        replaced("docs/README.md", "## Performance", "## Speed"),
        "add a heading '## Performance'",
    ),
    "command left out": (
        "docs",
        replaced("docs/README.md", "configs/evaluate.json", "configs/x.json"),
        "shows no command that runs configs/evaluate.json: add a block",
    ),
    "dead link": ("docs", written("docs/README.md", "+[a](b.png)"), "links to 'b.png', which is not there: correct"),
    "packaged with a link out of it": (
        "docs",
        both(packaged(ROWS), written("docs/README.md", "+[a](../../../configs/bf16.json)")),
        "links to '../../../configs/bf16.json', outside of the bundle: link to a web address",
    ),
    "somebody's path in the page": (
        "paths",
        written("docs/README.md", "+See /home/anna/picai.\n"),
        "path of a machine '/home/anna/picai.': leave it out",
    ),
    "absolute path in a config": (
        "paths",
        edited(TRAIN, "dataset_dir", value="/data/picai"),
        "configs/train.json: dataset_dir: absolute path '/data/picai': make it relative",
    ),
    "absolute path in an overlay": (
        "paths",
        written("../../configs/quick.json", '{"dataset_dir": "~/picai"}'),
        "configs/quick.json: dataset_dir: absolute path '~/picai': make it relative",
    ),
    "large file not listed": ("large_files", large, "models/big.safetensors has 25 MB, of 25 MB and more: list it in"),
    "list of large files without a hash": (
        "large_files",
        written("large_files.yml", "large_files: [{path: models/a.pt, url: 'https://x.org/a'}]"),
        "is incomplete: write a list 'large_files'",
    ),
    "list of large files unreadable": (
        "large_files",
        written("large_files.yml", "a: ["),
        "large_files.yml can't be read",
    ),
    "hash of an unknown kind": (
        "large_files",
        written("large_files.yml", LARGE.replace("md5", "crc")),
        "hash_type must be",
    ),
    "large file out of the bundle": (
        "large_files",
        written("large_files.yml", LARGE.replace("docs", "..")),
        "path '../README.md' is not within the bundle: make it relative",
    ),
    "large file changed": (
        "checksums",
        written("large_files.yml", LARGE),
        "docs/README.md has another md5 than large_fi",
    ),
    "file changed after packaging": (
        "checksums",
        UNPACKED_ZIP,
        "docs/README.md has another sha256 than SHA256SUMS says",
    ),
    "file added after packaging": (
        "checksums",
        UNPACKED_ZIP,
        "LICENSE is not in SHA256SUMS: add it, or remove the file",
    ),
    "packaged without checksums": ("checksums", packaged(ROWS), "SHA256SUMS is missing: package the bundle anew"),
    "checksums of another tool": (
        "checksums",
        written("SHA256SUMS", "abc LICENSE\n"),
        "line 1 must be a SHA-256, two spaces",
    ),
    "file of the checksums missing": (
        "checksums",
        written("SHA256SUMS", f"{'0' * 64}  models/a.pt\n"),
        "models/a.pt is listed in SHA256SUMS and missing: restore it",
    ),
    "model.pt no state dict": (
        "state_dict",
        packaged([1, 2]),
        "must hold tensors by name, got list: save a plain state",
    ),
    "model.pt that runs code": (
        "state_dict",
        both(packaged(ROWS), written("models/model.pt", "cos\nsystem\n(S'touch owned'\ntR.")),
        "can't be loaded with weights_only=True",
    ),
    "run id missing": (
        "run_ids",
        edited(INFER, "generating"),
        "inference.json has no list 'generating or classifying': add it",
    ),
    "default run missing": ("run_ids", edited(TRAIN, "run"), "configs/train.json has no list 'run': add it"),
    "errors not made readable": (
        "run_ids",
        edited(TRAIN, "initialize", 0),
        "'initialize' must be a list that begins with",
    ),
    "class misspelt": (
        "targets",
        replaced("configs/train.json", "loss.DenoisingLoss", "loss.DenoisingLos"),
        "loss.DenoisingLos' can't be imported: did you mean 'DenoisingLoss'?",
    ),
    "short name misspelt": (
        "targets",
        edited(TRAIN, "train", "trainer", "_target_", value="SupervizedTrainer"),
        "train::trainer: 'SupervizedTrainer' can't be imported: give the dotted path",
    ),
    "argument misspelt": (
        "targets",
        edited(INFER, "sampler", "num_steps", value=5),
        "does not take its arguments (got an unexpected keyword argument 'num_steps'): it takes (",
    ),
    "argument left out": (
        "targets",
        edited(TRAIN, "concept_embeddings", "num_vectors"),
        "ConceptEmbeddings.initialized' does not take its arguments (missing a required argument: 'num_vectors'):",
    ),
    "reference misspelt": (
        "references",
        edited(TRAIN, "optimizer", "lr", value="@learning_rat"),
        "optimizer::lr: '@learning_rat' is not in the config: did you mean '@learning_rate'?",
    ),
    "reference within an expression": (
        "references",
        edited(TRAIN, "training", value=["$@train::trainr.run()"]),
        "training::0: '@train::trainr' is not in the config: did you mean '@train::trainer'?",
    ),
    "reference by MONAI's older separator": (
        "references",
        edited(TRAIN, "training", value=["$@train#trainer.run()"]),
        "train.json: training::0: MONAI reads every '#' as '::': write '::', or do without",
    ),
    "references in a circle": (
        "references",
        both(edited(TRAIN, "batch_size", value="@num_cases"), edited(TRAIN, "num_cases", value="@batch_size")),
        "detected circular references",
    ),
    "macro of a missing key": (
        "references",
        edited(EVALUATE, "preprocessing", value="%configs/train.json::preprocesing"),
        "'%preprocesing' is not in the config: did you mean '%preprocessing'?",
    ),
    "macro of a missing file": (
        "references",
        edited(EVALUATE, "preprocessing", value="%configs/trains.json::preprocessing"),
        "there is no file 'configs/trains.json' in the bundle: correct the macro",
    ),
    "expression that is no Python": (
        "expressions",
        edited(TRAIN, "image_size", value="$@network_def.image_size +"),
        "image_size: '$@network_def.image_size +' is no Python expression (invalid syntax): correct it",
    ),
    "overlay with a misspelt key": (
        "overlays",
        written("../../configs/quick.json", '{"max_stps": 5}'),
        "quick.json: unknown key 'max_stps': did you mean 'max_steps'?",
    ),
    "overlay with a misspelt reference": (
        "overlays",
        written("../../configs/quick.json", '{"max_steps": "$@num_case * 5"}'),
        "quick.json over train.json: max_steps: '@num_case' is not in the config: did you mean '@num_cases'?",
    ),
    "property missing": (
        "properties",
        edited(TRAIN, "train", "inferer"),
        "configs/train.json lacks 'train::inferer' (MONAI Inferer object",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_bundle_fails_the_check_of_that_name(good_bundle, name):
    check, damage, message = BROKEN[name]
    damage(good_bundle)
    result = found(good_bundle, check)
    assert result.status == "failed"
    assert any(message in problem for problem in result.problems), result.problems
    assert not any("\n" in problem for problem in result.problems)


def test_every_check_but_the_steps_has_a_bundle_that_fails_it():
    assert {check for check, _, _ in BROKEN.values()} == {*READING, *EXECUTING} - {"training_step", "generation_step"}


def test_good_bundle_passes_what_does_not_execute_it(good_bundle):
    results = {result.name: result for result in checked(Bundle(good_bundle), good_bundle.parent, names=READING)}
    skipped = {name for name, result in results.items() if result.status == "skipped"}
    assert skipped == {"checksums", "state_dict"}
    assert [result.problems for result in results.values() if result.problems] == []


def test_packaged_bundle_passes_what_does_not_execute_it(good_bundle):
    packaged({"<prostate_mri_negative>": torch.zeros(2, 4)})(good_bundle)
    page = good_bundle / "docs" / "README.md"
    page.write_text(re.sub(r"\]\(\.\./\.\./[^)]*\)", "](https://example.org)", page.read_text()))
    shutil.copy(good_bundle.parents[1] / "configs" / "embedded.json", good_bundle / "configs")
    bundle = Bundle(good_bundle)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {bundle.short(path)}\n" for path in bundle.files()]
    (good_bundle / "SHA256SUMS").write_text("".join(sums))
    results = [*checked(Bundle(good_bundle), good_bundle.parent, names=READING)]
    assert [(result.name, result.problems) for result in results if result.status != "passed"] == []


def test_no_code_of_a_weights_file_is_executed(good_bundle):
    BROKEN["model.pt that runs code"][1](good_bundle)
    found(good_bundle, "state_dict")
    assert not (good_bundle / "owned").exists() and not os.path.exists("owned")  # noqa: PTH110


def test_checks_of_unreadable_metadata_refer_to_structure(good_bundle):
    (good_bundle / "configs" / "metadata.json").write_text("{")
    assert found(good_bundle, "structure").status == "failed"
    for name in ("metadata", "changelog"):
        assert found(good_bundle, name).reason == "configs/metadata.json can't be read: see structure"


def test_bundle_without_overlays_beside_it_is_checked_for_all_else(good_bundle):
    alone = good_bundle.rename(good_bundle.parents[2] / "alone")
    assert found(alone, "overlays").reason == "no overlays beside the bundle"
    assert found(alone, "references").status == "passed"
    assert "embedded.json" in str(found(alone, "properties").reason)
