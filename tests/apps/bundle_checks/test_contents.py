# SPDX-License-Identifier: Apache-2.0
import json
import logging

import pytest
from configs_of_bundles import BUNDLES, short_name
from jsonschema import Draft201909Validator
from monai.bundle import verify_metadata

from medti_components.apps.bundle_checks.contents import VERSION, metadata_schema


def test_schema_is_one():
    Draft201909Validator.check_schema(metadata_schema())


@pytest.mark.parametrize("bundle", BUNDLES, ids=short_name)
def test_monai_s_own_check_passes_with_it_offline(bundle, tmp_path):
    """MONAI downloads no schema where the file is there."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(metadata_schema()))
    logging.disable(logging.INFO)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("text", "is_version"), [("0.1.0", True), ("1.0.0rc1", True), ("1.0", False), ("new", False)])
def test_versions_have_three_numbers(text, is_version):
    assert bool(VERSION.fullmatch(text)) == is_version
