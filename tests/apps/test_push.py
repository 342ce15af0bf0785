# SPDX-License-Identifier: Apache-2.0
"""The command push: what arrives at a stand-in of the hub, and what is refused before anything is sent."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from configs_of_bundles import PROSTATE
from hub_stand_in import HubStandIn, use
from monai.bundle import download

from medti_components.__main__ import main
from medti_components.apps.bundle_checks import contents
from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.archive import write_checksums
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding

TOKEN = "hf_" + "s" * 34
REPO = "clinic/prostate-words"
WORDS = {"prostate_mri_negative": 0, "prostate_mri_positive": 1}


@pytest.fixture
def hub(monkeypatch):
    """A running stand-in, and the token for it."""
    server = HubStandIn(TOKEN)
    use(server, monkeypatch)
    yield server
    server.shutdown()
    server.server_close()


def save_words(folder, **facts):
    for name, seed in WORDS.items():
        rows = torch.randn(3, 32, generator=torch.Generator().manual_seed(seed))
        known = {"base_model": "hub/base", "data_license": "CC BY-NC 4.0", "steps": "100", **facts}
        save_embedding(folder / f"{name}.safetensors", f"<{name}>", rows, known)
    return folder


@pytest.fixture
def words(tmp_path):
    return save_words(tmp_path / "words")


@pytest.fixture(scope="module")
def packaged(micro_base, tmp_path_factory):
    """Archive of the prostate bundle with words and a base model. Read only."""
    folder = tmp_path_factory.mktemp("packaged")
    save_words(folder / "words", base_model="micro_base")
    (folder / "micro.json").write_text(json.dumps({"base_model": str(micro_base)}))
    given = {
        "embeddings": folder / "words",
        "overlays": folder / "micro.json",
        "version": "0.1.0",
        "output_dir": folder,
        "override_verdict": "true",
    }
    assert (
        main(["package", str(PROSTATE.parent), *(str(text) for key in given for text in (f"--{key}", given[key]))]) == 0
    )
    [archive] = folder.glob("*.zip")
    return archive


@pytest.fixture
def unpacked(packaged, tmp_path):
    with zipfile.ZipFile(packaged) as file:
        file.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked" / PROSTATE.parent.name


@pytest.fixture
def pushed(capsys):
    """Push, whatever the verdict on sharing is, and return what was said."""

    def pushed(source, *options):
        assert main(["push", str(source), "--repo_id", REPO, "--override_verdict", "true", *map(str, options)]) == 0
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        return said.out

    return pushed


@pytest.fixture
def line_of(capsys):
    """Return the one line of a push that must fail."""

    def line_of(source, *options, override="true"):
        capsys.readouterr()
        assert main(["push", str(source), "--repo_id", REPO, "--override_verdict", override, *map(str, options)]) == 1
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        [line] = [line for line in said.err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")

    return line_of


def front_matter(page):
    head, _, text = page.removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), text


def test_words_arrive_byte_by_byte_with_a_page_for_the_hub(hub, words, pushed):
    said = pushed(words)
    files = hub.files(REPO)
    assert set(files) == {".gitattributes", "README.md", *(f"{name}.safetensors" for name in WORDS)}
    for name in WORDS:
        assert files[f"{name}.safetensors"] == (words / f"{name}.safetensors").read_bytes()
    assert hub.repositories[REPO].private
    assert said == f"uploaded to {hub.address}/{REPO}, branch main, commit {hub.repositories[REPO].refs['main']}\n"
    facts, text = front_matter(files["README.md"].decode())
    assert facts == {
        "license": "cc-by-nc-4.0",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["medical", "textual-inversion", "synthetic"],
        "base_model": "hub/base",
        "base_model_relation": "adapter",
    }
    assert "| steps | 100 | 100 |" in text and "Not checked for copies" in text
    assert f'load_textual_inversion("{REPO}", weight_name="prostate_mri_negative.safetensors"' in text


def test_archive_arrives_so_that_monai_downloads_it(hub, packaged, pushed, tmp_path):
    said = pushed(packaged)
    commit = hub.repositories[REPO].refs["main"]
    assert said.splitlines()[1] == f"version 0.1.0 is commit {commit}"
    assert hub.repositories[REPO].tags == {"0.1.0": commit}
    files = hub.files(REPO)
    with zipfile.ZipFile(packaged) as archive:
        for name in archive.namelist():
            short = name.partition("/")[2]
            assert short == "SHA256SUMS" or files[short] == archive.read(name), name
    facts, text = front_matter(files["README.md"].decode())
    assert (facts["license"], facts["library_name"], facts["tags"][:2]) == ("apache-2.0", "monai", ["monai", "medical"])
    assert "base_model" not in facts  # it is in the archive, and not on the hub
    assert text.strip().replace("](docs/", "](") == files["docs/README.md"].decode().strip()
    name = PROSTATE.parent.name
    download(name, version="0.1.0", bundle_dir=tmp_path / "got", source="huggingface_hub", repo=REPO, progress=False)
    fetched = Bundle(tmp_path / "got" / name)
    shutil.rmtree(fetched.folder / ".cache", ignore_errors=True)
    (fetched.folder / ".gitattributes").unlink()
    assert [*contents.checksums(fetched)] == []


def test_upload_that_broke_off_goes_on_without_what_has_arrived(hub, words, line_of, pushed):
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(words.iterdir()))
    hub.refuse = lambda method, path: 400 if method == "PUT" and path.endswith(second) else None
    line = line_of(words)
    assert line.startswith(f"the upload to '{hub.address}/{REPO}' broke off (")
    assert line.endswith("): give the same command again, what has arrived is not uploaded twice")
    assert set(hub.files(REPO)) == {".gitattributes"}
    hub.refuse = lambda method, path: None
    hub.requests.clear()
    pushed(words)
    assert hub.uploads() == [second] and first in hub.stored
    hub.requests.clear()
    assert pushed(words) == f"nothing to upload: {hub.address}/{REPO} has all of it\n"
    assert hub.uploads() == [] and not [path for _, path in hub.requests if "/commit/" in path]


def test_other_files_of_the_repository_stay_unless_replaced(hub, words, pushed, tmp_path):
    pushed(words)
    left = shutil.copytree(words, tmp_path / "left")
    (left / "prostate_mri_negative.safetensors").unlink()
    said = pushed(left)
    assert "also in it, removed by --replace true: 1 files: prostate_mri_negative.safetensors\n" in said
    assert "removed: 1 files: prostate_mri_negative.safetensors\n" in pushed(left, "--replace", "true")
    assert set(hub.files(REPO)) == {".gitattributes", "README.md", "prostate_mri_positive.safetensors"}


def test_branch_is_made_where_it_is_missing(hub, words, pushed):
    assert ", branch trial, commit " in pushed(words, "--revision", "trial")
    assert "README.md" in hub.files(REPO, "trial") and "README.md" not in hub.files(REPO)


def test_version_of_other_content_is_not_moved(hub, packaged, unpacked, pushed):
    pushed(packaged)
    (unpacked / "docs" / "data_license.txt").write_text("other terms\n")
    (unpacked / "SHA256SUMS").unlink()
    write_checksums(unpacked)
    before = dict(hub.repositories[REPO].tags)
    assert f"version 0.1.0 stays at commit {before['0.1.0']}: package what is new as a new" in pushed(unpacked)
    assert hub.repositories[REPO].tags == before


def test_public_repository_is_not_taken_for_a_private_one(hub, words, pushed, line_of):
    pushed(words, "--private", "false")
    assert not hub.repositories[REPO].private
    assert line_of(words) == (
        f"repository '{REPO}' is public: give --private false, make it private in its settings, or choose another "
        "--repo_id"
    )


def test_dry_run_needs_neither_token_nor_network(words, pushed, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://nowhere.invalid")
    said = pushed(words, "--dry_run", "true").splitlines()
    assert said[0] == (f"would be uploaded to http://nowhere.invalid/{REPO}, private where it is made, branch main:")
    for path, line in zip(sorted(words.iterdir()), said[2:4], strict=True):
        content = path.read_bytes()
        assert line.split() == [hashlib.sha256(content).hexdigest(), str(len(content)), path.name]
    sizes = [int(line.split()[1]) for line in said[1:4]]
    assert said[4:7] == [f"total: 3 files, {sum(sizes):,} bytes", "README.md begins:", "---"]
    assert "license: cc-by-nc-4.0" in said[7:]


def test_without_a_token_is_said_how_to_log_in(hub, words, line_of, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere")
    assert line_of(words) == (
        "no token of the hub is stored: log in by 'hf auth login' or set HF_TOKEN; --dry_run true shows what would be "
        "uploaded without one"
    )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the hub does not accept the token: make one with write access, and log in anew by 'hf auth login'"),
        (403, "the token has no write access there: make one that has, or correct --repo_id"),
    ],
)
def test_token_that_is_refused_is_told_and_not_shown(hub, words, line_of, status, reason):
    hub.refuse = lambda method, path: status if path.endswith("/create") else None
    assert line_of(words) == f"'{hub.address}/{REPO}': {reason}"


def test_token_that_the_server_sends_back_is_not_shown(hub, words, line_of):
    hub.refuse = lambda method, path: 400 if path.endswith("/create") else None
    assert "refused, with Bearer ***" in line_of(words)


@pytest.mark.parametrize("repo_id", ["words", "a/b/c", "a b/c"])
def test_name_that_is_none_of_a_repository_is_told(words, capsys, repo_id):
    assert main(["push", str(words), "--repo_id", repo_id, "--dry_run", "true"]) == 1
    assert capsys.readouterr().err == f"error: repo_id must be owner/name, got '{repo_id}': correct --repo_id\n"


@pytest.mark.parametrize("name", ["word.pt", "word.safetensors"])
def test_pickles_are_refused_whatever_they_are_called(tmp_path, line_of, name):
    torch.save({"<word>": torch.zeros(1, 32)}, tmp_path / name)
    assert line_of(tmp_path / name) == (
        f"'{tmp_path / name}' is a pickle, which can run programs where it is opened: convert it by 'python -m "
        "medti_components embedding import', and push what that writes"
    )


def test_word_is_not_taken_for_a_pickle_by_the_length_of_its_header(tmp_path, pushed):
    path, length = tmp_path / "word.safetensors", 0
    while not path.is_file() or path.read_bytes()[:1] != b"\x80":  # as a pickle begins
        length += 8
        save_embedding(path, "<word>", torch.zeros(1, 32), {"note": "-" * length})
    assert "total: 2 files" in pushed(path, "--dry_run", "true")


def test_two_files_of_one_word_are_refused(words, tmp_path, line_of):
    path = Path(shutil.copyfile(words / "prostate_mri_negative.safetensors", words / "again.safetensors"))
    line = "two files {} '{}': give one of them"
    assert line_of(words) == line.format("hold", "<prostate_mri_negative>")
    save_embedding(tmp_path / path.name, "<other>", torch.zeros(1, 32), {})
    files = [str(path), str(tmp_path / path.name)]
    assert line_of(files) == line.format("are called", path.name)


def test_words_that_are_not_shown_to_be_safe_are_refused_unless_overridden(words, tmp_path, line_of, pushed):
    metrics = tmp_path / "evaluated" / "metrics.json"
    metrics.parent.mkdir()
    hashes = {word.token: word.sha256 for word in map(load_embedding, sorted(words.iterdir()))}
    verdict = {"verdict": "not shown", "statement": "not shown: few images", "embedding_sha256": hashes}
    metrics.write_text(json.dumps({"verdict": verdict}))
    evaluated = ["--evaluation", metrics.parent, "--dry_run", "true"]
    override = "or give --override_verdict true, which the model card states"
    line = f"'{metrics}' says 'not shown: few images': share other words, {override}"
    assert line_of(words, *evaluated, override="false") == line
    assert line_of(words, "--dry_run", "true", override="false").startswith(
        "words are shared where an evaluation found"
    )
    assert "total: 3 files" in pushed(words, *evaluated)


def test_words_that_tell_of_a_patient_are_refused(tmp_path, line_of):
    folder = save_words(tmp_path / "words", note="patient_id: 10044")
    assert line_of(folder, "--dry_run", "true").startswith(
        "not uploaded, remove first: prostate_mri_negative.safetensors has a patient's identifier: "
    )


def test_archive_packed_although_not_safe_is_refused_unless_overridden(unpacked, line_of, pushed):
    assert line_of(unpacked, "--dry_run", "true", override="false") == (
        f"'{unpacked}' says that no evaluation found it safe to share: share other words, or give "
        "--override_verdict true"
    )
    assert "total: " in pushed(unpacked, "--dry_run", "true")


def plant_scan(folder):
    (folder / "models" / "scan.dcm").write_bytes(b"x")
    return "models/scan.dcm is or contains a DICOM file"


def plant_pickle(folder):
    torch.save({"a": torch.zeros(1)}, folder / "models" / "other.bin")
    return "models/other.bin is neither text nor safetensors, PNG or JPEG: what it holds can't be told"


def plant_tensor(folder):
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    torch.save({**state, "scan": torch.ones(4, 4)}, folder / "models" / "model.pt")
    return "models/model.pt holds 'scan', which no safetensors file beside it has"


@pytest.mark.parametrize("plant", [plant_scan, plant_pickle, plant_tensor])
def test_what_is_planted_in_an_unpacked_archive_is_found(unpacked, line_of, plant):
    trace = plant(unpacked)
    (unpacked / "SHA256SUMS").unlink()
    write_checksums(unpacked)
    line = line_of(unpacked, "--dry_run", "true")
    assert line.startswith("not uploaded, remove first: ") and trace in line


def test_components_that_were_changed_are_refused(unpacked, line_of):
    [package] = unpacked.glob("medti_components_*")
    (package / "notes.py").write_text("NOTE = 'patient_id: 10044'\n")
    (unpacked / "SHA256SUMS").unlink()
    write_checksums(unpacked)
    assert line_of(unpacked, "--dry_run", "true") == (
        f"files in {package.name} were changed since they were packed: package the bundle again"
    )


def test_archive_that_was_changed_is_refused(unpacked, line_of):
    (unpacked / "LICENSE").write_text("none")
    assert line_of(unpacked, "--dry_run", "true").startswith(
        "not uploaded, correct the bundle first: checksums: LICENSE has another sha256 than SHA256SUMS says"
    )


def test_what_is_no_packaged_bundle_is_told(line_of, tmp_path, words):
    assert line_of(PROSTATE.parent, "--dry_run", "true") == (
        f"'{PROSTATE.parent}' is a bundle's source: package it first, and push the archive"
    )
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w") as file:
        file.writestr("bundle/LICENSE", "x" * 100)
    damaged.write_bytes(damaged.read_bytes().replace(b"xxx", b"yyy", 1))
    assert re.fullmatch(f"'{damaged}' can't be unpacked \\(.*\\): package the bundle again", line_of(damaged))
    with zipfile.ZipFile(damaged, "w") as file:
        file.writestr("a/LICENSE", "x")
        file.writestr("b/LICENSE", "x")
    assert line_of(damaged) == f"'{damaged}' must hold one folder, a bundle, got 2: package the bundle again"
    (unreadable := tmp_path / "bundle" / "configs").mkdir(parents=True)
    (unreadable / "dangling").symlink_to(tmp_path / "nowhere")
    assert line_of(unreadable.parent).endswith("restore what it names")
    assert (
        line_of(tmp_path / "none")
        == f"embeddings '{tmp_path}/none' is neither a folder nor a file: give one by --embeddings"
    )


def test_evaluation_of_a_bundle_goes_to_package(packaged, line_of, tmp_path):
    assert line_of(packaged, "--evaluation", tmp_path) == (
        "--evaluation is for words: give it to package, which puts it into the archive"
    )
