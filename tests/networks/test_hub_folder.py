# SPDX-License-Identifier: Apache-2.0
import pytest
from configs_of_bundles import CHEST, CLASSIFICATION, HISTOPATHOLOGY, PROSTATE, load
from huggingface_hub.errors import RevisionNotFoundError

from medti_components.errors import BaseModelError
from medti_components.networks import hub_folder
from medti_components.networks.hub_folder import locate_files, locate_folder

DEFAULTS = [
    *((folder / "train.json", "base_model", "base_revision") for folder in (PROSTATE, CHEST, HISTOPATHOLOGY)),
    (CLASSIFICATION / "train.json", "pretrained_model", "pretrained_revision"),
]


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_folder, "snapshot_download", None)
    assert locate_folder(str(tmp_path), "0123abc", "a_key", "do that", ["*.json"]) == tmp_path


def test_what_is_no_folder_is_fetched_at_its_revision(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        hub_folder, "snapshot_download", lambda name, **kwargs: asked.update(kwargs, name=name) or str(tmp_path)
    )
    assert locate_folder("some/model", "0123abc", "a_key", "do that", ["*.json"], ["*.bin"]) == tmp_path
    assert asked == {
        "name": "some/model",
        "revision": "0123abc",
        "allow_patterns": ["*.json"],
        "ignore_patterns": ["*.bin"],
    }


def test_a_failed_fetch_is_told_in_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network. Check it\nat once")

    monkeypatch.setattr(hub_folder, "snapshot_download", unreachable)
    message = r"^a_key 'some/model' is neither a folder nor reachable on the hub \(no network\): do that$"
    with pytest.raises(BaseModelError, match=message):
        locate_folder("some/model", None, "a_key", "do that", ["*.json"])


def test_missing_files_are_named(tmp_path):
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(BaseModelError, match=rf"^a_key '{tmp_path}' lacks a.json, c.json: do that$"):
        locate_files(str(tmp_path), None, "a_key", "do that", ["a.json", "b.json", "c.json"])


def test_a_revision_that_does_not_exist_names_its_key(monkeypatch):
    def unknown(*_, **__):
        raise RevisionNotFoundError.__new__(RevisionNotFoundError)  # its making asks for an answer of a server

    monkeypatch.setattr(hub_folder, "snapshot_download", unknown)
    message = "^base_revision '0123abc' is no revision of 'some/model': set --base_revision to one of its commits, tags"
    with pytest.raises(BaseModelError, match=message):
        locate_folder("some/model", "0123abc", "base model", "do that", ["*.json"])


@pytest.mark.parametrize(("config", "model", "revision"), DEFAULTS)
def test_the_default_revision_holds_for_the_default_model_alone(config, model, revision, tmp_path, monkeypatch):
    content = load(config)
    asked = {}
    monkeypatch.setattr(hub_folder, "snapshot_download", lambda name, **given: asked.update(given) or str(tmp_path))
    for name, expected in ((content[model], content[revision]), ("clinic/other", None)):
        locate_folder(name, content[revision], "base model", "do that", ["*.json"])
        assert asked["revision"] == expected
