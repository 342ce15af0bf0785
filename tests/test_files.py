# SPDX-License-Identifier: Apache-2.0
import os

import pytest
import torch
from safetensors.torch import load_file

from medti_components.errors import OutputError
from medti_components.files import check_writable, save_tensors_atomically, write_atomically, write_text_atomically


def test_what_is_written_replaces_the_old_and_leaves_nothing_beside_it(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "old")
    write_text_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_old(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError, match="half"), write_atomically(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("half")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_tensors_are_as_readable_as_text(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "text")
    save_tensors_atomically(tmp_path / "a.safetensors", {"x": torch.arange(3)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "a.txt").stat().st_mode
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2]


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"'.*file/a.txt' can't be written"):
        write_text_atomically(tmp_path / "file" / "a.txt", "text")


def test_checking_that_a_folder_is_writable_makes_nothing(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(
        OutputError, match=r"^cache_dir '.*file/a' is not writable \(Not a directory\): .* --cache_dir$"
    ):
        check_writable(tmp_path / "file" / "a", "cache_dir")
