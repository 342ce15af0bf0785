# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all tests."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import forked_commands
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from medti_components.apps import reproduce
from medti_components.apps.reproduction import workflow
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def byte_vocabulary() -> dict[str, int]:
    """Return CLIP's 256 byte characters, the same at a word's end, and the two special tokens: no merges are needed."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    characters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(hidden))]
    names = [*characters, *(f"{character}</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    return {name: index for index, name in enumerate(names)}


def build_micro_base(folder: Path, prediction_type: str = "epsilon", width: int = 32) -> Path:
    """Save a Stable-Diffusion-shaped pipeline of random weights: 32 px images, latents (4, 4, 4), text ``width``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vocabulary = byte_vocabulary()
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="!", model_max_length=77)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=width,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                initializer_factor=4.0,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=4,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=width,
            attention_head_dim=(2, 4),
            norm_num_groups=4,
            use_linear_projection=True,
        )
        vae = AutoencoderKL(
            sample_size=32,
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            scaling_factor=0.18215,
        )
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def micro_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight base model in diffusers' layout; epsilon prediction. Read only."""
    return build_micro_base(tmp_path_factory.mktemp("models") / "micro_base")


@pytest.fixture(scope="session")
def micro_base_v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same base model declared as one that predicts v. Read only."""
    return build_micro_base(tmp_path_factory.mktemp("models") / "micro_base_v", prediction_type="v_prediction")


@pytest.fixture(scope="session")
def micro_base_1024(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose text encoder is as wide as that of Stable Diffusion 2. Read only."""
    return build_micro_base(tmp_path_factory.mktemp("models") / "micro_base_1024", width=1024)


@pytest.fixture(scope="session")
def micro_model(micro_base: Path) -> FrozenLatentDiffusion:
    """The micro base model, loaded once. Read only."""
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trial runs fork their processes from one that has imported the libraries."""
    monkeypatch.setattr(subprocess, "run", forked_commands.run)


@pytest.fixture
def forked_workflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Snakemake and the jobs of workflows fork their processes from one that has imported the libraries."""
    with tempfile.TemporaryDirectory() as folder, forked_commands.forking_python(Path(folder)) as python:
        monkeypatch.setattr(workflow, "PYTHON", str(python))

        def run_command(command: Sequence[str]) -> int:
            result = forked_commands.run(command)
            print(result.stdout, result.stderr)
            return result.returncode

        monkeypatch.setattr(reproduce, "run_command", run_command)
        yield
