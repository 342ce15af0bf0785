# SPDX-License-Identifier: Apache-2.0
"""Step time and peak memory of this trainer beside a plain textual inversion loop.

The plain loop does what the usual public script does (diffusers' ``examples/textual_inversion``): new tokens are added
to the vocabulary, every image is encoded by the VAE in every step, the text encoder sees the prompt once per image,
AdamW updates the whole token table, and all rows but the new ones are put back after each step. Its images lie ready in
memory: reading and resizing files, which the script also does in every step, is left out.

Same base model, batch size and precision, in turns within one process. The unit is one step of one concept: the plain
loop trains one concept at a time, with all cores; this trainer trains ``--num_concepts`` together, and its time is
divided by their number.

    python benchmarks/training_step.py --base_model bundles/tiny_latent_diffusion/models --batch_sizes 1 8
    python benchmarks/training_step.py --sd2_random --device cuda --dtype bfloat16 --batch_sizes 1 8
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from result_table import show_table
from stable_diffusion_2 import NO_FOLDER, SCHEDULER_CONFIG, build_parts, byte_tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel
from transformers.utils import logging as transformers_logging

from medti_components.data.latent_cache import LatentCache
from medti_components.engines.denoising_batches import DenoisingBatches
from medti_components.engines.learning_rate import scheduled_learning_rate
from medti_components.engines.textual_inversion import TextualInversion
from medti_components.engines.training_history import TrainingHistory
from medti_components.handlers.loss_monitor import LossMonitor
from medti_components.inferers.denoising_inferer import DenoisingInferer
from medti_components.losses.denoising_loss import DenoisingLoss
from medti_components.networks.concept_embedding import ConceptEmbeddings
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

NUM_IMAGES = 16
METHODS = ("plain loop", "this trainer")


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    base_model: str | None
    scale: int
    num_concepts: int
    num_vectors: int
    learning_rate: float
    device: str
    dtype: str
    is_compiled: bool

    @property
    def precision(self) -> torch.dtype:
        """Precision of the frozen parts."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.dtype]


def load_model(setting: Setting) -> FrozenLatentDiffusion:
    """Load the base model, or make Stable Diffusion 2 base of random weights."""
    if setting.base_model is not None:
        return FrozenLatentDiffusion.from_pretrained(setting.base_model, dtype=setting.dtype, device=setting.device)
    vae, unet, text_encoder = build_parts(setting.device, setting.precision, setting.scale)
    model = FrozenLatentDiffusion(
        vae,
        unet,
        text_encoder,
        byte_tokenizer(),
        SCHEDULER_CONFIG,
        NO_FOLDER,
        "Stable Diffusion 2 base, random weights",
    )
    return model.to(setting.device)


def load_plain_parts(setting: Setting) -> tuple[AutoencoderKL, UNet2DConditionModel, CLIPTextModel, DDPMScheduler]:
    """Load the parts as the script does: text encoder in float32, the frozen parts in the precision asked for."""
    if setting.base_model is None:
        vae, unet, text_encoder = build_parts(setting.device, setting.precision, setting.scale)
        scheduler = DDPMScheduler(**SCHEDULER_CONFIG)
    else:
        kwargs: dict[str, Any] = {"torch_dtype": setting.precision}
        vae = AutoencoderKL.from_pretrained(setting.base_model, subfolder="vae", **kwargs)
        unet = UNet2DConditionModel.from_pretrained(setting.base_model, subfolder="unet", **kwargs)
        text_encoder = CLIPTextModel.from_pretrained(setting.base_model, subfolder="text_encoder")
        scheduler = DDPMScheduler.from_pretrained(setting.base_model, subfolder="scheduler")
    return vae.to(setting.device), unet.to(setting.device), text_encoder.float().to(setting.device), scheduler


def random_images(size: int) -> Tensor:
    """Images (NUM_IMAGES, 3, size, size) in [-1, 1]: what they show does not matter to time and memory."""
    return torch.rand(NUM_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


class PlainLoop:
    """The usual script's step."""

    num_concepts = 1

    def __init__(self, setting: Setting, batch_size: int, steps_per_round: int = 1) -> None:
        self.setting = setting
        self.steps_per_round = steps_per_round
        self.vae, self.unet, self.text_encoder, self.scheduler = load_plain_parts(setting)
        self.vae.requires_grad_(False)
        self.unet.requires_grad_(False)
        if setting.is_compiled:
            self.unet.compile()
        table = self.text_encoder.get_input_embeddings()
        self.num_words = len(table.weight)
        self.text_encoder.resize_token_embeddings(self.num_words + setting.num_vectors, mean_resizing=False)
        for name, parameter in self.text_encoder.named_parameters():
            parameter.requires_grad_("token_embedding" in name)
        self.table = self.text_encoder.get_input_embeddings().weight
        self.before = self.table.detach().clone()
        self.is_old = torch.ones(len(self.table), dtype=torch.bool, device=setting.device)
        self.is_old[self.num_words :] = False
        self.optimizer = torch.optim.AdamW([self.table], lr=setting.learning_rate, weight_decay=1e-2)
        config = self.text_encoder.config
        ids = [config.bos_token_id, *range(self.num_words, len(self.table)), config.eos_token_id]
        ids += [config.pad_token_id or 0] * (77 - len(ids))
        self.input_ids = torch.tensor([ids] * batch_size, device=setting.device)
        size = int(self.unet.config.sample_size) * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.images = random_images(size)
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(0)

    def round(self) -> None:
        """Do one round of steps."""
        for _ in range(self.steps_per_round):
            self._step()

    def _step(self) -> None:
        setting = self.setting
        indices = torch.randint(NUM_IMAGES, (self.batch_size,), generator=self.generator)
        images = self.images[indices].to(setting.device, setting.precision)
        latents = self.vae.encode(images).latent_dist.sample().detach() * self.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(len(self.scheduler), (self.batch_size,), device=setting.device)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        device_type = torch.device(setting.device).type
        with torch.autocast(device_type, torch.bfloat16, enabled=setting.precision == torch.bfloat16):
            condition = self.text_encoder(self.input_ids)[0]
        prediction = self.unet(noisy, timesteps, condition.to(setting.precision)).sample
        loss = nn.functional.mse_loss(prediction.float(), noise.float())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            self.table[self.is_old] = self.before[self.is_old]
        loss.item()  # shown on the progress bar in every step


class ThisTrainer:
    """MONAI's trainer with this project's parts, as ``configs/train.json`` puts them together."""

    def __init__(self, setting: Setting, batch_size: int, steps_per_round: int = 1) -> None:
        self.num_concepts = setting.num_concepts
        model = load_model(setting)
        if setting.is_compiled:
            model.unet.compile()
        images = random_images(model.image_size)
        tokens = [f"<concept_{number}>" for number in range(setting.num_concepts)]
        dataset = [
            {"image": image, "concept": token, "patient_id": str(number), "study_id": "0"}
            for token in tokens
            for number, image in enumerate(images)
        ]
        latents = LatentCache.from_dataset(dataset, model, tokens, show_progress=False)
        model.release_vae()
        network = ConceptEmbeddings.initialized(tokens, setting.num_vectors, model, seed=0)
        optimizer = torch.optim.AdamW(network.parameters(), lr=setting.learning_rate, weight_decay=0.0, fused=True)
        scheduler = scheduled_learning_rate(optimizer, "constant", 1)
        self.trainer = SupervisedTrainer(
            device=model.device,
            max_epochs=0,
            epoch_length=steps_per_round,
            train_data_loader=range(steps_per_round),
            network=network,
            optimizer=optimizer,
            loss_function=DenoisingLoss(),
            prepare_batch=DenoisingBatches(latents, model, batch_size),
            inferer=DenoisingInferer(model, is_traced=False if setting.is_compiled else None),
            iteration_update=TextualInversion(),
            train_handlers=[
                LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
                LossMonitor(TrainingHistory(), interval=10),
            ],
            decollate=False,
        )

    def round(self) -> None:
        """Do one round of steps."""
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()


BUILDERS: dict[str, Callable[[Setting, int, int], PlainLoop | ThisTrainer]] = dict(
    zip(METHODS, (PlainLoop, ThisTrainer), strict=True)
)


def synchronise(device: str) -> None:
    """Wait until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def step_times(setting: Setting, batch_size: int, num_rounds: int, steps_per_round: int) -> dict[str, float]:
    """Median seconds per step and concept of each method, taken in turns."""
    loops = {method: BUILDERS[method](setting, batch_size, steps_per_round) for method in METHODS}
    times: dict[str, list[float]] = {method: [] for method in METHODS}
    for loop in loops.values():
        loop.round()
    for _ in range(num_rounds):
        for method, loop in loops.items():
            synchronise(setting.device)
            start = time.perf_counter()
            loop.round()
            synchronise(setting.device)
            times[method].append((time.perf_counter() - start) / steps_per_round / loop.num_concepts)
    return {method: statistics.median(values) for method, values in times.items()}


def peak_resident_memory() -> float:
    """Peak of this process in MiB; not ``ru_maxrss``, which on Linux begins with the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _peak_memory(setting: Setting, batch_size: int, method: str, results: Any) -> None:
    quieten()
    loop = BUILDERS[method](setting, batch_size, 3)
    if torch.device(setting.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    loop.round()
    if torch.device(setting.device).type == "cuda":
        results.put(torch.cuda.max_memory_allocated() / 2**20)
    else:
        results.put(peak_resident_memory())


def peak_memory(setting: Setting, batch_size: int, method: str) -> float:
    """Peak in MiB, in a process of its own: allocated on a GPU (steps alone), resident on a CPU (loading included)."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_peak_memory, args=(setting, batch_size, method, results))
    process.start()
    peak = float(results.get())
    process.join()
    return peak


def quieten() -> None:
    """Hide warnings and progress bars of the libraries."""
    warnings.filterwarnings("ignore")
    transformers_logging.disable_progress_bar()


def main() -> None:
    """Measure and write one row per method and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--base_model", help="folder of a base model in diffusers' layout")
    source.add_argument("--sd2_random", action="store_true", help="Stable Diffusion 2 base's size, random weights")
    parser.add_argument("--scale", type=int, default=1, help="divides the widths of --sd2_random, for a try on a CPU")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--num_concepts", type=int, default=2, help="concepts that this trainer trains together")
    parser.add_argument("--num_vectors", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="compile the UNet of both")
    parser.add_argument("--num_rounds", type=int, default=9)
    parser.add_argument("--steps_per_round", type=int, default=5)
    parser.add_argument("--without_memory", action="store_true", help="measure time alone")
    parser.add_argument("--output", type=Path, help="CSV file to write as well")
    arguments = parser.parse_args()
    setting = Setting(
        base_model=arguments.base_model,
        scale=arguments.scale,
        num_concepts=arguments.num_concepts,
        num_vectors=arguments.num_vectors,
        learning_rate=0.005,
        device=arguments.device,
        dtype=arguments.dtype,
        is_compiled=arguments.compile,
    )
    quieten()
    fields = ("batch size", "method", "ms per step and concept", "steps per second", "speed-up", "peak memory MiB")
    rows = []
    for batch_size in arguments.batch_sizes:
        seconds = step_times(setting, batch_size, arguments.num_rounds, arguments.steps_per_round)
        for method in METHODS:
            memory = "" if arguments.without_memory else f"{peak_memory(setting, batch_size, method):.0f}"
            speed_up = seconds["plain loop"] / seconds[method]
            numbers = (f"{seconds[method] * 1e3:.1f}", f"{1 / seconds[method]:.2f}", f"{speed_up:.2f}")
            rows.append((str(batch_size), method, *numbers, memory))
    show_table(fields, rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
