# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from training_run import CONCEPTS, build_run, final_rows, random_latents

from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.engines.textual_inversion import TextualInversion
from medti_components.errors import ConfigError
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def test_frozen_weights_stay_bit_identical(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in micro_model.state_dict().items()}

    trainer = build_run(micro_model, tmp_path)
    trainer.run()

    assert all(torch.equal(tensor, before[name]) for name, tensor in micro_model.state_dict().items())
    assert all(parameter.grad is None for parameter in micro_model.parameters())


def test_the_rows_are_all_that_is_trained(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path)
    before = final_rows(trainer)
    trainer.run()

    assert sorted(trainer.network.state_dict()) == [f"{token}.rows" for token in CONCEPTS]
    assert [len(group["params"]) for group in trainer.optimizer.param_groups] == [len(CONCEPTS)]
    assert all(not torch.equal(rows, before[token]) for token, rows in final_rows(trainer).items())


def test_a_joint_run_gives_what_separate_runs_give(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    quiet = {"max_steps": 50, "validation_interval": 0, "checkpoint_interval": 0}
    joint = build_run(micro_model, tmp_path / "joint", **quiet)
    joint.run()
    for token in CONCEPTS:
        separate = build_run(micro_model, tmp_path / token.strip("<>"), concepts=[token], **quiet)
        separate.run()
        difference = (final_rows(separate)[token] - final_rows(joint)[token]).abs().max().item()
        assert difference <= 1e-5


def test_the_first_step_moves_each_row_element_by_the_learning_rate(
    micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    """AdamW's first update is lr * g / (|g| + eps), without decay: lr wherever |g| is far above eps = 1e-8."""
    trainer = build_run(micro_model, tmp_path, max_steps=1, learning_rate=0.125)
    before = final_rows(trainer)
    trainer.run()

    for token, rows in final_rows(trainer).items():
        moved = (rows - before[token]).abs()
        assert moved.max().item() == pytest.approx(0.125, rel=1e-3)
        assert moved.median().item() == pytest.approx(0.125, rel=1e-2)


def test_accumulation_gives_the_rows_of_the_larger_batch(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    whole = build_run(micro_model, tmp_path / "whole", batch_size=4)
    parts = build_run(micro_model, tmp_path / "parts", batch_size=1, accumulation_steps=4)
    whole.run()
    parts.run()

    for token, rows in final_rows(whole).items():
        torch.testing.assert_close(final_rows(parts)[token], rows, rtol=1e-3, atol=1e-4)


def test_batches_larger_than_the_number_of_cases_train(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path, num_cases=2, batch_size=5, max_steps=1)
    trainer.run()

    assert trainer.state.iteration == 1


def test_gradient_is_clipped_per_concept(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path, max_steps=1, max_gradient_norm=1e-3)
    trainer.run()

    norms = [embedding.rows.grad.norm().item() for embedding in trainer.network]  # type: ignore[union-attr]
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_clipping_to_a_norm_that_is_not_positive_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_gradient_norm must be positive or null, got 0"):
        TextualInversion(max_gradient_norm=0)


def test_learning_lowers_the_loss_on_what_is_learned(micro_model: FrozenLatentDiffusion, tmp_path: Path) -> None:
    trainer = build_run(micro_model, tmp_path, learning_rate=0.1, max_steps=30, batch_size=8, validation_interval=0)
    held_out = HeldOutLoss(micro_model, random_latents(), draws_per_case=8)
    before = {token: held_out.of_rows(token, rows) for token, rows in final_rows(trainer).items()}
    trainer.run()

    for token, rows in final_rows(trainer).items():
        assert held_out.of_rows(token, rows) < before[token]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_model_may_be_in_half_precision_while_rows_stay_float32(
    micro_base: Path, tmp_path: Path, dtype: str
) -> None:
    model = FrozenLatentDiffusion.from_pretrained(str(micro_base), dtype=dtype)

    trainer = build_run(model, tmp_path, max_steps=2)
    trainer.run()

    assert {rows.dtype for rows in final_rows(trainer).values()} == {torch.float32}
    assert all(torch.isfinite(rows).all() for rows in final_rows(trainer).values())


def test_checkpointing_and_slicing_give_the_same_rows(
    micro_base: Path, micro_model: FrozenLatentDiffusion, tmp_path: Path
) -> None:
    thrifty = FrozenLatentDiffusion.from_pretrained(
        str(micro_base), gradient_checkpointing=True, attention_slicing=True
    )
    one, other = build_run(micro_model, tmp_path / "one"), build_run(thrifty, tmp_path / "other")
    one.run()
    other.run()

    for token, rows in final_rows(one).items():
        torch.testing.assert_close(final_rows(other)[token], rows, rtol=1e-3, atol=1e-4)
