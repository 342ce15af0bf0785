# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from configs_of_bundles import BUNDLES, CONFIGS, PROSTATE, load, short_name

from medti_components.bundle.schema import SCHEMA, SHARED, ConfigSchema
from medti_components.errors import ConfigError


def schema_of(folder, train):
    (folder / "docs").mkdir(exist_ok=True)
    (folder / SCHEMA).write_text(json.dumps({"$defs": {"train": train}}))
    return ConfigSchema(folder)


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        ({"type": "integer", "minimum": 1}, 0, "k must be at least 1, got 0: correct --k"),
        ({"exclusiveMinimum": 0}, 0.0, "k must be more than 0, got 0.0: correct --k"),
        ({"maximum": 1}, 1.5, "k must be at most 1, got 1.5: correct --k"),
        ({"exclusiveMaximum": 1}, 1, "k must be less than 1, got 1: correct --k"),
        ({"multipleOf": 8}, 12, "k must be a multiple of 8, got 12: correct --k"),
        ({"enum": ["a", "b"]}, "c", "k must be one of a, b, got 'c': correct --k"),
        ({"type": ["integer", "null"]}, "x", "k must be a whole number or null, got 'x': correct --k"),
        ({"type": "boolean"}, None, "k must be true or false, got null: correct --k"),
        ({"type": "string", "minLength": 1}, "", "k must be text of at least 1 character(s), got '': correct --k"),
        ({"items": {"type": "number"}}, [1, "x"], "k must be a number in entry 1, got [1, 'x']: correct --k"),
        ({"minItems": 1}, [], "k must be a list of at least 1, got []: correct --k"),
        ({"maxItems": 1}, [1, 2], "k must be a list of at most 1, got [1, 2]: correct --k"),
        ({"pattern": "^a"}, "b", "k must be as 'pattern' of the schema says, got 'b': correct --k"),
    ],
)
def test_values_that_are_not_allowed_are_named_with_what_would_be(tmp_path, rule, value, message):
    schema = schema_of(tmp_path, {"properties": {"k": rule}})
    with pytest.raises(ConfigError) as caught:
        schema.check("train.json", {"k": value})
    assert str(caught.value) == message


@pytest.mark.parametrize("value", ["$1 - 2", "@other", "%other", {"_target_": "Compose"}, ["$1 - 2"]])
def test_what_monai_has_yet_to_resolve_is_left_out(tmp_path, value):
    schema_of(tmp_path, {"properties": {"k": {"type": "integer", "minimum": 0}}}).check("train.json", {"k": value})


def test_nothing_is_said_of_other_configs_other_keys_and_bundles_without_a_schema(tmp_path):
    schema = schema_of(tmp_path, {"properties": {"k": {"minimum": 1}}})
    schema.check("inference.json", {"k": 0})
    schema.check("train.json", {"other": 0})
    (tmp_path / SCHEMA).unlink()
    ConfigSchema(tmp_path).check("train.json", {"k": 0})


def test_a_bundle_s_own_words_stand_before_the_shared_ones_whose_rules_stay(tmp_path):
    shared = [{"$ref": "urn:medti:keys#/$defs/run"}]
    own = {"allOf": shared, "properties": {"seed": {"description": "own"}, "k": {"description": "one more"}}}
    schema = schema_of(tmp_path, own)
    keys = schema.keys("train.json")
    assert keys["seed"]["description"] == "own"
    assert keys["k"]["description"] == "one more"
    with pytest.raises(ConfigError, match=r"^seed must be at least 0, got -1: correct --seed$"):
        schema.check("train.json", {"seed": -1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"'.*keys.schema.json' can't be read \(.*\): correct it"),
        ("[]", r"'.*keys.schema.json' can't be read \(.*\): correct it"),
        ('{"properties": {"k": {"type": "text"}}}', r"'.*keys.schema.json' is no JSON Schema \(.*\): correct it"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(tmp_path, content, message):
    (tmp_path / "docs").mkdir()
    (tmp_path / SCHEMA).write_text(content)
    with pytest.raises(ConfigError, match=f"^{message}$"):
        ConfigSchema(tmp_path)


@pytest.mark.parametrize("path", CONFIGS, ids=short_name)
def test_configs_fit_their_schema(path):
    ConfigSchema(path.parents[1]).check(path.name, load(path))


def test_every_key_that_is_described_is_a_key_of_some_config():
    described, known = set(), set()
    for bundle in BUNDLES:
        for path in (bundle / "configs").glob("*.json"):
            described |= ConfigSchema(bundle).keys(path.name).keys()
            known |= load(path).keys()
    assert described <= known


def test_the_shared_part_is_read_where_a_bundle_does_not_bring_it_along():
    document = ConfigSchema(PROSTATE.parent).document
    assert document["$defs"]["urn:medti:keys"] == json.loads(SHARED.read_text())
