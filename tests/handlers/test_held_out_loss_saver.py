# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from training_run import CONCEPTS, build_run, random_latents

from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_losses_stand_beside_those_of_the_empty_prompt_and_the_initial_rows(
    micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    trainer = build_run(micro_model, tmp_path, max_steps=5, validation_interval=2)
    trainer.run()

    contents = json.loads((tmp_path / "held_out_loss.json").read_text())
    held_out = HeldOutLoss(micro_model, random_latents(CONCEPTS, 2, seed=1), draws_per_case=2)
    initial = ConceptEmbeddings.initialized(CONCEPTS, 2, micro_model, seed=0)
    for token in CONCEPTS:
        assert contents["references"]["empty prompt"][token] == held_out.of_empty_prompt(token)
        assert contents["references"]["initial rows"][token] == held_out.of_rows(token, initial[token].rows)
        assert [step for step, _ in contents["held_out_loss"][token]] == [0, 2, 4, 5]
        assert contents["held_out_loss"][token][-1][1] == held_out.of_rows(token, trainer.network[token].rows)


def test_measuring_changes_nothing_about_the_training(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    measured = build_run(micro_model, tmp_path / "measured", validation_interval=1)
    unmeasured = build_run(micro_model, tmp_path / "unmeasured", validation_interval=0)
    measured.run()
    unmeasured.run()

    for token in CONCEPTS:
        assert measured.network[token].rows.equal(unmeasured.network[token].rows)
    assert not (tmp_path / "unmeasured" / "held_out_loss.json").exists()


def test_the_last_line_of_the_log_says_what_was_gained(
    micro_model: FrozenLatentDiffusion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        build_run(micro_model, tmp_path, max_steps=2).run()

    assert f"held-out loss of {CONCEPTS[0]}: " in caplog.text
    assert "(initial rows " in caplog.text
