# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path
from random import Random

import embedding_fuzz
import pytest
import torch
from embedding_fuzz import fuzz, main, outcome, valid_files
from embedding_mutations import MUTATIONS, container_of

from medti_components.errors import EmbeddingError


def test_damaged_and_hostile_files_give_finite_rows_or_one_line(capsys):
    assert main(["--num_files", "200", "--seed", "7"]) == 0
    assert "every file gave finite rows or one line; no code was run" in capsys.readouterr().out


def test_equal_seeds_give_equal_files(tmp_path):
    for content in valid_files(0).values():
        for name, mutate in MUTATIONS[container_of(content)].items():
            first, second = (mutate(content, Random(name), tmp_path / "canary") for _ in range(2))
            assert first == second, name


def test_what_is_neither_rows_nor_a_typed_error_is_noticed(tmp_path):
    def raising(error):
        def read(path):
            raise error

        return read

    assert outcome(raising(ZeroDivisionError("a")), tmp_path) == "ZeroDivisionError: a"
    assert outcome(raising(EmbeddingError("a")), tmp_path) == "refused"
    assert outcome(raising(EmbeddingError("a\x1b")), tmp_path) == "message 'error: a\\x1b'"
    assert outcome(lambda path: torch.ones(1, 2), tmp_path) == "loaded"
    assert outcome(lambda path: torch.ones(1, 2) / 0, tmp_path) == "rows (1, 2) torch.float32"


def test_code_that_runs_is_noticed(monkeypatch, tmp_path):
    def careless(path: Path):
        os.close(os.open(path.with_name("canary"), os.O_CREAT))
        return torch.ones(1, 2)

    monkeypatch.setattr(embedding_fuzz, "read_imported", careless)
    rows, wrong = fuzz(3, 0, tmp_path)
    assert len(wrong) == 3
    assert all(line.endswith("by careless: code was run") for line in wrong)
    assert sum(int(row[5]) for row in rows) == 3


@pytest.mark.parametrize("count", [-1, 0])
def test_nothing_to_try_gives_an_empty_table(count, tmp_path):
    assert fuzz(count, 0, tmp_path) == ([], [])
