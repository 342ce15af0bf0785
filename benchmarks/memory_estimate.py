# SPDX-License-Identifier: Apache-2.0
"""Memory of a training step at Stable Diffusion 2 base's size, counted without a GPU and without weights.

Tensors are fake: shapes and types are real, values are not. Counted are the weights that stay in memory (the VAE has
left), the tensors that autograd saves for the backward pass (each storage once, weights left out) and the largest set
of tensors alive at once within the forward and backward pass, with fused attention as every GPU of the last years has
it, and without. A GPU adds its context (about 0.5 GB), the convolutions' workspaces and fragmentation.

    python benchmarks/memory_estimate.py --batch_sizes 1 8
"""

import argparse
import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from stable_diffusion_2 import NO_FOLDER, SCHEDULER_CONFIG, build_parts, byte_tokenizer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medti_components.losses.denoising_loss import DenoisingLoss
from medti_components.networks.frozen_latent_diffusion import DTYPES, QUERY_SLICE, FrozenLatentDiffusion

GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """Bytes of one training step of one concept."""

    weights: int
    saved: int
    peak: int

    @property
    def total(self) -> int:
        """Weights and the peak of everything else."""
        return self.weights + self.peak


class LiveTensors(TorchDispatchMode):
    """Follows the bytes of the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count the storages it makes."""
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def ignore(self, tensors: list[Tensor]) -> None:
        """Leave tensors that are there already out of the count."""
        self._known |= {tensor.untyped_storage()._cdata for tensor in tensors}

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@contextmanager
def saved_bytes(left_out: list[Tensor]) -> Iterator[dict[int, int]]:
    """Collect the sizes of the storages that autograd saves, by storage."""
    known = {tensor.untyped_storage()._cdata for tensor in left_out}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def build_model(
    device: str, dtype: str, gradient_checkpointing: bool, attention_slicing: bool, scale: int = 1
) -> FrozenLatentDiffusion:
    """Return the model as training holds it: Stable Diffusion 2 base's shapes, the VAE released."""
    vae, unet, text_encoder = build_parts(device, DTYPES[dtype], scale)
    query_slice = QUERY_SLICE if attention_slicing else 0
    model = FrozenLatentDiffusion(
        vae, unet, text_encoder, byte_tokenizer(), SCHEDULER_CONFIG, NO_FOLDER, "Stable Diffusion 2 base", query_slice
    )
    if gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    model.vae = None
    return model


def estimate(model: FrozenLatentDiffusion, batch_size: int, num_vectors: int = 64) -> Estimate:
    """Count one step's bytes."""
    weights = list(model.parameters()) + list(model.buffers())
    device = model.device
    rows = torch.zeros(num_vectors, model.width, device=device, requires_grad=True)
    noisy, target = (torch.zeros(batch_size, *model.latent_shape, device=device) for _ in range(2))
    timesteps = torch.zeros(batch_size, dtype=torch.long, device=device)
    tracker = LiveTensors()
    tracker.ignore(weights)
    with tracker, saved_bytes(weights) as saved:
        loss = DenoisingLoss()(model.predict(noisy, timesteps, model.condition_from_rows(rows)), target)
        num_saved = sum(saved.values())
        loss.backward()
    return Estimate(sum(tensor.untyped_storage().nbytes() for tensor in weights), num_saved, tracker.peak)


def main() -> None:
    """Print one row per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--num_vectors", type=int, default=64)
    arguments = parser.parse_args()
    print("| dtype | attention | checkpointing, slicing | batch size | weights GiB | saved GiB | peak GiB |")
    print("|---|---|---|---|---|---|---|")
    cases = itertools.product(("float32", "bfloat16"), ("fused", "plain"), (False, True))
    for dtype, attention, is_thrifty in cases:
        backend = SDPBackend.MATH if attention == "plain" else SDPBackend.FLASH_ATTENTION
        with FakeTensorMode(), sdpa_kernel(backend):
            model = build_model("cpu", dtype, is_thrifty, is_thrifty)
            for batch_size in arguments.batch_sizes:
                found = estimate(model, batch_size, arguments.num_vectors)
                numbers = " | ".join(f"{size / GIB:.2f}" for size in (found.weights, found.saved, found.total))
                print(f"| {dtype} | {attention} | {'yes' if is_thrifty else 'no'} | {batch_size} | {numbers} |")


if __name__ == "__main__":
    main()
