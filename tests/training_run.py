# SPDX-License-Identifier: Apache-2.0
"""A training run of the micro base model on random latents, as the bundle's config puts it together."""

from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import DenoisingBatches
from medti_components.engines.held_out_loss import HeldOutLoss
from medti_components.engines.learning_rate import scheduled_learning_rate
from medti_components.engines.run_folder import RunFolder
from medti_components.engines.textual_inversion import TextualInversion
from medti_components.engines.training_history import TrainingHistory
from medti_components.handlers.checkpoint_handler import CheckpointHandler
from medti_components.handlers.embedding_saver import EmbeddingSaver
from medti_components.handlers.loss_monitor import HeldOutLossSaver, LossMonitor
from medti_components.handlers.run_end_handler import RunEndHandler
from medti_components.handlers.run_start_handler import RunStartHandler
from medti_components.handlers.training_curves_saver import TrainingCurvesSaver
from medti_components.inferers.denoising_inferer import DenoisingInferer
from medti_components.losses.denoising_loss import DenoisingLoss
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion
from medti_components.random_streams import random_stream

CONCEPTS = ("<micro_negative>", "<micro_positive>")


def random_latents(concepts: tuple[str, ...] = CONCEPTS, num_cases: int = 3, seed: int = 0) -> LatentCache:
    """Latents (num_cases, 4, 4, 4) of each concept, a function of seed and concept alone."""
    mean = {token: torch.randn(num_cases, 4, 4, 4, generator=random_stream(seed, token)) for token in concepts}
    std = {token: torch.full_like(values, 0.1) for token, values in mean.items()}
    case_ids = {token: [f"{number}_{seed}" for number in range(num_cases)] for token in concepts}
    return LatentCache(mean, std, case_ids)


def build_run(model: FrozenLatentDiffusion, output_dir: Path, **changes: Any) -> SupervisedTrainer:
    """Return a trainer with all handlers but those of progress and previews; ``changes`` are config keys."""
    settings: dict[str, Any] = {
        "concepts": list(CONCEPTS),
        "num_vectors": 2,
        "max_steps": 4,
        "batch_size": 2,
        "accumulation_steps": 1,
        "learning_rate": 0.01,
        "learning_rate_schedule": "constant",
        "sample_posterior": True,
        "seed": 0,
    }
    options: dict[str, Any] = {"resume": False, "checkpoint_interval": 2, "validation_interval": 2, "num_kept": 2}
    options |= {"num_cases": 3, "max_gradient_norm": None, "handlers": ()}
    for key, value in changes.items():
        (settings if key in settings else options)[key] = value
    concepts = tuple(settings["concepts"])
    latents = random_latents(concepts, options["num_cases"])
    held_out = HeldOutLoss(model, random_latents(concepts, 2, seed=1), draws_per_case=2)
    network = ConceptEmbeddings.initialized(concepts, settings["num_vectors"], model, settings["seed"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings["learning_rate"], weight_decay=0.0, fused=True)
    scheduler = scheduled_learning_rate(optimizer, settings["learning_rate_schedule"], settings["max_steps"])
    run_folder = RunFolder(output_dir, settings, options["resume"])
    run_folder.check()
    history = TrainingHistory()
    evaluator = SupervisedEvaluator(
        device=model.device,
        val_data_loader=list(concepts),
        network=network,
        iteration_update=held_out,
        decollate=False,
    )
    handlers = [
        RunStartHandler(run_folder, {"base_model": model, "dataset_dir": latents}),
        LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
        LossMonitor(history, interval=2),
        HeldOutLossSaver(held_out, evaluator, history, output_dir, options["validation_interval"]),
        CheckpointHandler(
            run_folder.checkpoints,
            {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler, "history": history},
            options["checkpoint_interval"],
            options["num_kept"],
            run_folder=run_folder,
        ),
        EmbeddingSaver(model, latents, history, output_dir, {"seed": settings["seed"]}),
        TrainingCurvesSaver(history, output_dir),
        *options["handlers"],
        RunEndHandler(settings["max_steps"]),
    ]
    return SupervisedTrainer(
        device=model.device,
        max_epochs=1,
        epoch_length=max(settings["max_steps"], 1),
        train_data_loader=range(max(settings["max_steps"], 1)),
        network=network,
        optimizer=optimizer,
        loss_function=DenoisingLoss(),
        prepare_batch=DenoisingBatches(
            latents,
            model,
            settings["batch_size"],
            settings["accumulation_steps"],
            settings["seed"],
            settings["sample_posterior"],
        ),
        inferer=DenoisingInferer(model),
        iteration_update=TextualInversion(settings["accumulation_steps"], options["max_gradient_norm"]),
        train_handlers=handlers,
        decollate=False,
    )


def final_rows(trainer: SupervisedTrainer) -> dict[str, torch.Tensor]:
    """Copies of the rows by token."""
    return {embedding.token: embedding.rows.detach().clone() for embedding in trainer.network}  # type: ignore[attr-defined]
