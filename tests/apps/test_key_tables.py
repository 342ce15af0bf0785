# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from configs_of_bundles import REPOSITORY

from medti_components.apps.key_tables import key_table, key_tables, with_key_tables
from medti_components.errors import BundleError, ConfigError

DESCRIBED = {
    "seed": {"type": "integer", "description": "of the noise"},
    "fill": {"enum": ["a", "b"], "description": "what is there | at the beginning"},
}


@pytest.fixture
def bundle(tmp_path):
    for folder in ("configs", "docs"):
        (tmp_path / "bundles" / "b" / folder).mkdir(parents=True)
    folder = tmp_path / "bundles" / "b"
    (folder / "configs" / "train.json").write_text(json.dumps({"seed": 0, "fill": "a", "run": ["$1"]}))
    (folder / "docs" / "keys.schema.json").write_text(json.dumps({"$defs": {"train": {"properties": DESCRIBED}}}))
    (folder / "docs" / "README.md").write_text(page("configs/train.json"))
    return folder


def page(config, table=""):
    return f"before\n<!-- keys of {config} -->\n{table}<!-- end of keys -->\nafter\n"


def test_tables_of_this_repository_are_up_to_date(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert key_tables(check=True) == "the tables of keys are up to date"


def test_a_table_has_the_keys_that_a_user_sets_with_default_meaning_and_choices(bundle):
    lines = with_key_tables(page("configs/train.json"), bundle).splitlines()
    assert lines[4:6] == [
        "| `seed` | `0` | of the noise |",
        "| `fill` | `a` | what is there \\| at the beginning (`a`, `b`) |",
    ]
    assert [lines[0], lines[-1]] == ["before", "after"]


def test_a_table_may_have_some_of_the_keys(bundle):
    text = page("configs/train.json: fill").replace("json: fill -->", "json: fill -->")
    assert "`seed`" not in with_key_tables(text, bundle)
    assert "`fill`" in with_key_tables(text, bundle)


def test_tables_are_written_once_and_checked(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BundleError, match=r"^tables of keys are not up to date in bundles/b/docs/README.md: run python"
    ):
        key_tables(check=True)
    assert key_tables() == "wrote bundles/b/docs/README.md"
    assert key_tables() == "the tables of keys are up to date"
    (tmp_path / "README.md").write_text(page("bundles/b/configs/train.json"))
    assert key_tables() == "wrote README.md"


def test_a_folder_without_pages_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BundleError, match=r"^there is no README.md in '.*': run key_tables from the repository's root$"
    ):
        key_tables()


def test_a_page_that_asks_for_what_is_not_there_is_refused(bundle):
    with pytest.raises(ConfigError, match=r"^a page asks for the keys of '.*no.json', which is not there: correct"):
        with_key_tables(page("configs/no.json"), bundle)
    for config, key in (({"seed": 0}, "other"), ({"seed": 0, "other": 0}, "other")):
        with pytest.raises(ConfigError, match=rf"^key '{key}' must be in the config and described in docs/keys"):
            key_table(config, DESCRIBED, [key])
