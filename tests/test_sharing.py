# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/sharing.md do what the page says."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from embedding_samples import torch_file, web_ui
from hub_stand_in import HubStandIn, use

from medti_components.__main__ import main
from medti_components.apps.package import package
from medti_components.apps.push import push
from medti_components.evaluation.verdict import SAFE
from medti_components.networks.base_model_folder import checkpoint_fingerprint
from medti_components.networks.embedding_files.embedding_file import MAX_BYTES, load_embedding, save_embedding
from medti_components.networks.embedding_files.foreign_embedding import load_foreign_embedding

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "sharing.md").read_text(encoding="utf-8")
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


@pytest.fixture
def checkout(tmp_path, monkeypatch, tiny_words):
    """A folder with the repository's bundles, words, an evaluation and studies, as the page has them; current."""
    for name in ("bundles", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "output" / "picai").mkdir(parents=True)
    (tmp_path / "output" / "picai" / "embeddings").symlink_to(tiny_words)
    (tmp_path / "output" / "evaluation").mkdir()
    hashes = {word.token: word.sha256 for word in map(load_embedding, tiny_words.iterdir())}
    verdict = {"verdict": SAFE, "statement": f"{SAFE}: no copy", "embedding_sha256": hashes}
    (tmp_path / "output" / "evaluation" / "metrics.json").write_text(json.dumps({"verdict": verdict}))
    (tmp_path / "data" / "picai" / "images" / "10000").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tiny_words(tmp_path_factory):
    """Folder of two words of the embedded base model."""
    folder = tmp_path_factory.mktemp("embeddings")
    base = REPOSITORY / "bundles" / "tiny_latent_diffusion" / "models"
    width = json.loads((base / "text_encoder" / "config.json").read_text())["hidden_size"]
    facts = {"base_model": "tiny_latent_diffusion", "base_model_sha256": checkpoint_fingerprint(base), "steps": "10000"}
    for name in ("prostate_mri_negative", "prostate_mri_positive"):
        save_embedding(folder / f"{name}.safetensors", f"<{name}>", ROWS[:2, :width], facts)
    return folder


def test_the_command_on_packaging_writes_the_archive_that_the_page_names(checkout, capsys):
    [line] = commands("package")
    assert main(line) == 0
    [archive] = (checkout / "shared").glob("*.zip")
    assert f"`shared/{archive.name}`" in PAGE
    assert f"wrote shared/{archive.name}: " in capsys.readouterr().out


def test_the_commands_on_pushing_upload_the_archive_and_the_words(checkout, monkeypatch):
    server = HubStandIn("token")
    use(server, monkeypatch)
    assert main(commands("package")[0]) == 0
    dry, *real = commands("push")
    monkeypatch.delenv("HF_TOKEN")
    assert main(dry) == 0
    assert server.requests == []
    monkeypatch.setenv("HF_TOKEN", "token")
    for line in real:
        assert main(line) == 0, line
    server.shutdown()
    server.server_close()
    bundle, words = (server.files(line[line.index("--repo_id") + 1]) for line in real)
    assert "configs/inference.json" in bundle
    assert words["prostate_mri_negative.safetensors"] == bundle["models/prostate_mri_negative.safetensors"]
    assert words["README.md"].startswith(b"---\n") and b"\nlicense: cc-by-nc-4.0\n" in words["README.md"]


def test_the_options_of_pushing_are_those_of_the_page():
    named = set(re.findall(r"--(\w+)", PAGE.partition("## Pushing to the Hugging Face hub")[2]))
    assert set(inspect.signature(push).parameters) - {"source"} == named


@pytest.mark.slow
def test_the_commands_on_packaging_run_one_after_the_other(checkout):
    section = PAGE.partition("## Packaging a bundle")[2].partition("\n## ")[0]
    first, second, _ = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euc", first + second], cwd=checkout, env=environment, check=True)
    assert len([*(checkout / "unpacked" / "generated" / "images").glob("*.png")]) == 2


def test_the_options_of_packaging_are_those_of_the_page():
    named = set(re.findall(r"--(\w+)", PAGE.partition("## Packaging a bundle")[2].partition("###")[0]))
    options = set(inspect.signature(package).parameters) - {"bundle"}
    assert options <= named
