# SPDX-License-Identifier: Apache-2.0
"""The command line ``embedding``."""

import hashlib
import os

import pytest
import torch
from embedding_samples import Call, archive, pickle_of, samples, torch_file, web_ui
from safetensors.torch import save

from medti_components import __version__
from medti_components.__main__ import main
from medti_components.networks.embedding_files.embedding_file import load_embedding, save_embedding

ROWS = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])


@pytest.fixture
def run(capsys):
    """Run a command that must succeed, and return what it says."""

    def run(*arguments):
        assert main(["embedding", *map(str, arguments)]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return said.out

    return run


@pytest.fixture
def line_of(capsys):
    """Run a command that must fail, and return the one line that it says."""

    def line_of(*arguments):
        assert main(["embedding", *map(str, arguments)]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        return said.err

    return line_of


def shown(text):
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


def test_inspect_shows_what_is_known_of_our_own_file(tmp_path, run):
    path = tmp_path / "word.safetensors"
    metadata = {"base_model": "micro", "base_model_sha256": "ab" * 32, "steps": "7", "seed": "3", "medti_version": "0"}
    save_embedding(path, "<word>", ROWS, {**metadata, "data_license": "CC0"})
    assert shown(run("inspect", path)) == {
        "file": str(path),
        "format": "medti, safetensors",
        "token": "<word>",
        "vectors": "3",
        "width": "2",
        "precision": "float32",
        "norms": "min 1, median 5, max 10",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "data_license": "CC0",
        **metadata,
    }


@pytest.mark.parametrize("kind", samples(ROWS))
def test_every_tools_file_is_inspected_imported_and_exported(tmp_path, run, kind):
    path = tmp_path / "some name.bin"
    path.write_bytes(samples(ROWS)[kind])
    assert shown(run("inspect", path))["format"] == kind.replace(" slots", "")
    folder = tmp_path / "imported"
    said = run("import", path, "--token", "<new>", "--output_dir", folder)
    name = {"web UI": "nodule-500", "kohya": "none", "OneTrainer": "none"}.get(kind.partition(",")[0], "<nodule>")
    imported = load_embedding(folder / "new.safetensors")
    assert said == (f"wrote {imported.path}: '<new>', 3 vectors of width 2, from {kind.replace(' slots', '')}\n")
    assert torch.equal(imported.rows, ROWS)
    assert imported.metadata.items() >= {
        ("imported_format", kind.replace(" slots", "")),
        ("imported_file", "some name.bin"),
        ("imported_name", name),
        ("imported_sha256", hashlib.sha256(path.read_bytes()).hexdigest()),
        ("medti_version", __version__),
    }
    if name == "nodule-500":
        assert imported.metadata.items() >= {("base_model", "512-base-ema"), ("steps", "499")}
    for layout, ending in (
        ("diffusers", "safetensors"),
        ("webui", "safetensors"),
        ("kohya", "safetensors"),
        ("png", "png"),
    ):
        exported = tmp_path / f"{layout}.{ending}"
        word = layout if layout in ("webui", "kohya") else "<new>"
        said = run("export", imported.path, "--format", layout, "--output_file", exported)
        assert said == f"wrote {exported}: in prompts write {word}\n"
        run("import", exported, "--output_dir", tmp_path / layout)
        again = load_embedding(tmp_path / layout / "new.safetensors")
        assert torch.equal(again.rows, ROWS)
        assert again.metadata.items() >= {
            item for item in imported.metadata.items() if not item[0].startswith("imported_")
        }


def test_mistakes_are_one_line_and_status_1(tmp_path, line_of):
    def file(content):
        (tmp_path / "file").write_bytes(content)
        return tmp_path / "file"

    def imported(content, *more):
        return line_of("import", file(content), "--output_dir", tmp_path / "out", *more)

    kinds = samples(ROWS)
    assert "has no token: give one like --token '<prostate_mri_positive>'" in imported(kinds["kohya, safetensors"])
    assert "has the name 'nodule-500', which is no word in angle brackets: give one like --token" in imported(
        kinds["web UI, PNG"]
    )
    assert "concept token must be a word in angle brackets" in imported(kinds["web UI, PNG"], "--token", "nodule")
    hostile = archive({"data.pkl": pickle_of({"a": Call(os.system, f"touch {tmp_path}/canary")}), "version": b"3\n"})
    assert "names 'posix.system': only tensors are read, nothing is run" in imported(hostile)
    assert "'posix.system'" in line_of("inspect", tmp_path / "file")
    assert "holds values that are not finite" in imported(torch_file(web_ui(ROWS / 0)))
    assert "is an embedding for SDXL" in imported(save({"clip_l": ROWS, "clip_g": ROWS + 1}))
    assert "is not a whole PyTorch file" in imported(kinds["web UI, pickle"][:-30])
    assert "got neither: is it damaged?" in line_of("inspect", file(b"hello"))
    assert "does not exist: give its path" in line_of("inspect", tmp_path / "none.pt")
    target = ("--output_file", tmp_path / "a.pt")
    assert "is a pickle, which is read on import alone" in line_of(
        "export", file(kinds["web UI, pickle"]), "--format", "webui", *target
    )
    assert "output_file must end in .safetensors" in line_of(
        "export", file(kinds["diffusers, safetensors"]), "--format", "webui", *target
    )
    assert "format must be one of" in line_of("export", tmp_path / "file", "--format", "pt", *target)
    assert "--output_dir must be given" in line_of("import", tmp_path / "file")
    (tmp_path / "taken").write_text("")
    assert "is not writable" in line_of(
        "import", tmp_path / "file", "--token", "<a>", "--output_dir", tmp_path / "taken" / "out"
    )
    assert "did you mean 'import'?" in line_of("imprt", tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "taken"}


def test_a_word_with_capitals_is_imported_with_a_warning_that_offers_another_name(tmp_path, run):
    path = tmp_path / "word.safetensors"
    path.write_bytes(save({"<MRI_positive>": ROWS}))
    said = run("import", path, "--output_dir", tmp_path / "words")
    assert (
        "warning: the word should be lower case, got '<MRI_positive>': diffusers writes prompts in lower case" in said
    )
    assert "so take '<mri_positive>': import it again with --token" in said
    assert "warning" not in run("import", path, "--output_dir", tmp_path / "new", "--token", "<mri_positive>")


def test_a_tensor_of_unknown_name_is_imported_by_key(tmp_path, run, line_of):
    path = tmp_path / "word.safetensors"
    path.write_bytes(save({"healthy": ROWS}))
    arguments = ("import", path, "--output_dir", tmp_path / "words", "--token", "<healthy>")
    assert "if it is the word, say so by --key 'healthy'" in line_of(*arguments)
    assert "'<healthy>', 3 vectors of width 2, from tensor by name" in run(*arguments, "--key", "healthy")


def test_the_tensor_that_is_left_out_is_told(tmp_path, run):
    path = tmp_path / "word.safetensors"
    path.write_bytes(save({"emp_params": ROWS, "emp_params_out": ROWS + 1}))
    said = run("import", path, "--output_dir", tmp_path / "words", "--token", "<healthy>")
    assert "note: 'emp_params_out' is left out: its vectors stand behind the text encoder" in said
    assert "'emp_params_out' is left out" in run("inspect", path)
