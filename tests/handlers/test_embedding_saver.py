# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import torch
from training_run import CONCEPTS, build_run, final_rows, random_latents

import medti_components
from medti_components.engines.training_history import TrainingHistory
from medti_components.handlers.embedding_saver import EmbeddingSaver
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.embedding_files.learned_words import load_embeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_each_concept_has_its_file_with_where_it_comes_from(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path)
    trainer.run()

    files = load_embeddings(tmp_path / "embeddings", micro_model)

    assert sorted(path.name for path in (tmp_path / "embeddings").iterdir()) == [
        "micro_negative.safetensors",
        "micro_positive.safetensors",
    ]
    for token, rows in final_rows(trainer).items():
        assert torch.equal(files[token].rows, rows)
    metadata = files[CONCEPTS[0]].metadata
    assert metadata["base_model"] == "micro_base"
    assert metadata["base_model_sha256"] == micro_model.fingerprint
    assert (metadata["prediction_type"], metadata["steps"], metadata["num_cases"]) == ("epsilon", "4", "3")
    assert (metadata["seed"], metadata["medti_version"]) == ("0", medti_components.__version__)
    assert metadata["torch_version"] == torch.__version__
    assert 0 < float(metadata["held_out_loss"]) < 10
    assert 0 < float(metadata["held_out_loss_of_empty_prompt"]) < 10
    assert 0 < float(metadata["held_out_loss_of_initial_rows"]) < 10


def test_no_steps_write_the_initial_rows(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    build_run(micro_model, tmp_path, max_steps=0).run()

    files = load_embeddings(tmp_path / "embeddings", micro_model)
    initial = ConceptEmbeddings.initialized(CONCEPTS, 2, micro_model, seed=0)
    for token in CONCEPTS:
        assert torch.equal(files[token].rows, initial[token].rows)
        assert files[token].metadata["steps"] == "0"
        assert files[token].metadata["held_out_loss"] == files[token].metadata["held_out_loss_of_initial_rows"]


def test_whose_masks_decided_the_images_is_told_where_masks_did(
    micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    latents = random_latents()
    latents.mask_sources = {CONCEPTS[1]: ["human_expert/Pooch25"] * 3}
    saver = EmbeddingSaver(micro_model, latents, TrainingHistory(), tmp_path, {})

    assert saver.metadata(CONCEPTS[1], 0)["masks"] == "human_expert/Pooch25: 3"
    assert "masks" not in saver.metadata(CONCEPTS[0], 0)
