# SPDX-License-Identifier: Apache-2.0
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from radiograph_inversion import main, sheet

from medti_components.networks.embedding_files.embedding_file import load_embedding

CONCEPTS = ("<chest_xray_no_finding>", "<chest_xray_pneumonia>")


@pytest.fixture
def radiographs(tmp_path):
    """Eight grey pictures in the layout of an excerpt of NIH ChestX-ray14."""
    folder = tmp_path / "radiographs"
    folder.mkdir()
    lines = ["path,finding_labels,view,patient_id"]
    for index in range(8):
        Image.linear_gradient("L").resize((32, 32)).rotate(45 * index).save(folder / f"{index}.png")
        lines.append(f"{index}.png,{('No Finding', 'Pneumonia')[index % 2]},{('AP', 'PA')[index // 4]},{index}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_sheet_has_a_tile_an_image():
    picture = sheet({"real": torch.ones(2, 3, 8, 8), "generated": -torch.ones(3, 3, 8, 8)}, scale=2)
    assert picture.size == (4 + 3 * 20, 2 * (16 + 16 + 4))
    assert picture.getpixel((4 + 20 + 8, 36 + 16 + 8)) == (0, 0, 0)


def test_whole_run_on_a_micro_base(radiographs, micro_base, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    output = tmp_path / "out"
    sizes = {"num_vectors": 2, "max_steps": 2, "batch_size": 2, "num_cases": 2, "num_validation_cases": 2}
    sizes |= {"num_inference_steps": 2, "num_images": 2, "guidance_scales": 1.5, "base_model": micro_base}
    sizes |= {"dataset_dir": radiographs, "output_dir": output, "cache_dir": tmp_path / "cache"}
    arguments = [text for key, value in sizes.items() for text in (f"--{key}", str(value))]
    assert main([*arguments, "--concepts", *CONCEPTS]) == 0
    results = json.loads((output / "results.json").read_text())
    assert set(results["references"]) == {"initial rows", "empty prompt"}
    for token in CONCEPTS:
        name = token[1:-1]
        assert load_embedding(output / "embeddings" / f"{name}.safetensors").rows.shape == (2, 32)
        assert [step for step, _ in results["held_out_loss"][token]][-1] == 2
        with Image.open(output / f"{name}.png") as picture:
            assert picture.height == 4 * (32 * 4 + 16 + 4)


def test_user_s_mistakes_end_in_one_line(radiographs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    keys = ["--dataset_dir", str(radiographs), "--cache_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")]
    assert main([*keys, "--dataset_format", "mimic"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "error: dataset_format must be one of chexpert, nih, got 'mimic': correct --dataset_format"
