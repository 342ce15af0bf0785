# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/sharing.md do what the page says."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from embedding_samples import torch_file, web_ui

from medti_components.__main__ import main
from medti_components.networks.embedding_file import MAX_BYTES
from medti_components.networks.foreign_embedding import load_foreign_embedding

PAGE = (Path(__file__).parents[1] / "docs" / "sharing.md").read_text(encoding="utf-8")
ROWS = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))


def commands(group):
    """Return the arguments of the page's commands of a group."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[3:] for line in words if line[:4] == ["python", "-m", "medti_components", group]]


def test_the_commands_on_embedding_files_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("prostate_pos.pt").write_bytes(torch_file(web_ui(torch.nn.Parameter(ROWS))))
    assert [line[1] for line in commands("embedding")] == ["inspect", "import", *["export"] * 4]
    for line in commands("embedding"):
        assert main(line) == 0, line
    said = capsys.readouterr().out
    shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0]
    assert re.findall(r"^\w+:", said, re.MULTILINE) == re.findall(r"^\w+:", shown, re.MULTILINE)
    for format, word in re.findall(r"^\| `(\w+)` \|.*[|:] (?:the )?(token|`\w+`|file's name)", PAGE, re.MULTILINE):
        expected = "<prostate_mri_positive>" if word == "token" else "prostate_mri_positive"
        [target] = [line[-1] for line in commands("embedding") if format in line]
        assert f"wrote {target}: in prompts write {expected}\n" in said
        assert torch.equal(load_foreign_embedding(target).rows, ROWS)


def test_the_limit_on_the_page_is_that_of_the_code():
    assert f"A file above {MAX_BYTES // 10**6} MB is no embedding" in PAGE


@pytest.mark.parametrize("name", ["emb_params", "emp_params", "string_to_param", "sd-ti-embedding"])
def test_the_page_names_what_the_readers_look_for(name):
    assert f"`{name}`" in PAGE
