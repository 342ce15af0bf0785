# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from medti_components.data.generated.provenance import ProvenanceFile
from medti_components.errors import OutputError


def lines(folder):
    return [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_image_has_one_line_and_a_new_one_replaces_the_old(tmp_path):
    file = ProvenanceFile(tmp_path)
    file.add([{"file": "images/a_0.png", "seed": 0}, {"file": "images/a_1.png", "seed": 1}])
    ProvenanceFile(tmp_path).add([{"file": "images/a_0.png", "seed": 0, "prompt": "ä"}])
    assert lines(tmp_path) == [
        {"file": "images/a_1.png", "seed": 1},
        {"file": "images/a_0.png", "seed": 0, "prompt": "ä"},
    ]


@pytest.mark.parametrize("content", ["{", "[1]", '{"seed": 1}'])
def test_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "provenance.jsonl").write_text(content + "\n")
    with pytest.raises(OutputError, match="provenance.jsonl' is of another kind or damaged: remove it"):
        ProvenanceFile(tmp_path)
