# SPDX-License-Identifier: Apache-2.0
"""Latents of the training images, computed once so that the VAE can leave memory."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from medti_components.errors import DataError

if TYPE_CHECKING:
    from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion

SMALL_IMAGE_SIZE = 128  # pixels; larger images are encoded one at a time, for the VAE's activations fill an 8 GB card


def case_name(item: Mapping[str, Any]) -> str:
    """Return what a case is called: its patient and its study.

    >>> case_name({"patient_id": "10044", "study_id": "1000045"})
    '10044_1000045'
    """
    return f"{item['patient_id']}_{item['study_id']}"


class LatentCache:
    """Mean and standard deviation of every image's latent distribution, kept per concept.

    Keeping both leaves the choice between drawing from the distribution anew in every step, as a loop that encodes each
    time does, and using its mean.

    Args:
        mean: by concept, float32 (N, C, h, w), multiplied by the VAE's scaling factor.
        std: the same shapes, not negative.
        case_ids: by concept, the N names of the cases, for provenance.
        mask_sources: by concept, who made the masks that decided what the images show, where masks did.
        image_hashes: by concept, :func:`image_hash` of each image.
        patient_ids: by concept, the patient of each case; None where each case is of a patient of its own.

    >>> cache = LatentCache({"<a>": torch.zeros(2, 4, 1, 1)}, {"<a>": torch.ones(2, 4, 1, 1)}, {"<a>": ["1_2", "3_4"]})
    >>> cache.num_cases("<a>"), cache.num_cases("<b>")
    (2, 0)
    """

    def __init__(
        self,
        mean: Mapping[str, Tensor],
        std: Mapping[str, Tensor],
        case_ids: Mapping[str, Sequence[str]],
        mask_sources: Mapping[str, Sequence[str]] | None = None,
        image_hashes: Mapping[str, Sequence[str]] | None = None,
        patient_ids: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        for token, values in mean.items():
            if values.shape != std[token].shape or len(values) != len(case_ids[token]):
                raise DataError(
                    f"mean, std and case_ids of '{token}' must agree, got shapes {tuple(values.shape)}, "
                    f"{tuple(std[token].shape)} and {len(case_ids[token])} names"
                )
        self.mean = dict(mean)
        self.std = dict(std)
        self.mask_sources = dict(mask_sources or {})
        self.image_hashes = dict(image_hashes or {})
        self.case_ids = {token: tuple(ids) for token, ids in case_ids.items()}
        self.patient_ids = {token: tuple(ids) for token, ids in (patient_ids or case_ids).items()}

    @classmethod
    def from_dataset(
        cls,
        dataset: Iterable[Mapping[str, Any]],
        model: "FrozenLatentDiffusion",
        concepts: Sequence[str],
        is_required: bool = True,
        show_progress: bool = True,
        description: str = "encoding images",
    ) -> "LatentCache":
        """Encode every image of ``dataset`` once.

        Args:
            dataset: items {"image": (3, H, W) in [-1, 1], "concept", "patient_id", "study_id"}, and "mask_source" where
                masks decided what is shown.
            model: the base model with its VAE.
            concepts: the tokens; items of others are an error.
            is_required: whether a concept without images is an error.
            show_progress: whether a bar with the time left goes to stderr.
            description: what the bar says.

        Raises:
            DataError: a concept has no image, an image does not fit the base model, or its latent is not finite.
        """
        images: dict[str, list[Tensor]] = {token: [] for token in concepts}
        case_ids: dict[str, list[str]] = {token: [] for token in concepts}
        patient_ids: dict[str, list[str]] = {token: [] for token in concepts}
        mask_sources: dict[str, list[str]] = {}
        hashes: dict[str, list[str]] = {token: [] for token in concepts}
        for item in dataset:
            token = item["concept"]
            case_id = case_name(item)
            if token not in images:
                raise DataError(f"case {case_id} is of '{token}', which is not in concepts ({', '.join(concepts)})")
            image = torch.as_tensor(item["image"])
            expected = (3, model.image_size, model.image_size)
            if tuple(image.shape) != expected:
                raise DataError(
                    f"image of case {case_id} must have shape {expected} for '{model.name}', got {tuple(image.shape)}: "
                    "resize it in the preprocessing"
                )
            images[token].append(image)
            case_ids[token].append(case_id)
            patient_ids[token].append(str(item["patient_id"]))
            hashes[token].append(image_hash(image))
            if "mask_source" in item:
                mask_sources.setdefault(token, []).append(item["mask_source"])
        missing = [token for token in concepts if not images[token]]
        if missing and is_required:
            raise DataError(f"no image for '{missing[0]}': check dataset_dir, concepts and num_cases")

        batch_size = 8 if model.image_size <= SMALL_IMAGE_SIZE else 1
        mean: dict[str, Tensor] = {}
        std: dict[str, Tensor] = {}
        total = sum(map(len, images.values()))
        with tqdm(total=total, desc=description, unit="image", disable=not show_progress or not total) as bar:
            for token in concepts:
                if not images[token]:
                    continue
                means, stds = [], []
                for start in range(0, len(images[token]), batch_size):
                    batch = torch.stack(images[token][start : start + batch_size])
                    batch_mean, batch_std = model.encode(batch.to(model.device))
                    means.append(batch_mean.float())
                    stds.append(batch_std.float())
                    bar.update(len(batch))
                mean[token], std[token] = torch.cat(means), torch.cat(stds)
                is_finite = torch.isfinite(mean[token]).all(dim=(1, 2, 3)) & torch.isfinite(std[token]).all(
                    dim=(1, 2, 3)
                )
                if not bool(is_finite.all()):
                    first = int((~is_finite).nonzero()[0])
                    raise DataError(
                        f"latents of case {case_ids[token][first]} are not finite: look at it, or set --dtype float32"
                    )
        names, patients = ({token: ids[token] for token in mean} for ids in (case_ids, patient_ids))
        return cls(mean, std, names, mask_sources, hashes, patients)

    @property
    def concepts(self) -> tuple[str, ...]:
        """The tokens that have images."""
        return tuple(self.mean)

    def num_cases(self, token: str) -> int:
        """Number of images of a concept, 0 for one that is unknown."""
        return len(self.case_ids.get(token, ()))

    def cases(self, token: str) -> list[tuple[str, str]]:
        """Return the patient and the name of each case of a concept."""
        return list(zip(self.patient_ids.get(token, ()), self.case_ids.get(token, ()), strict=True))

    def masks(self, token: str) -> str:
        """Tell who made the masks of a concept's images and how many each, "" where no mask decided.

        >>> from_two = {"<a>": ["human_expert/resampled", "AI/Bosma22a", "human_expert/resampled"]}
        >>> LatentCache({}, {}, {}, from_two).masks("<a>")
        'human_expert/resampled: 2, AI/Bosma22a: 1'
        """
        counts = Counter(self.mask_sources.get(token, ()))
        return ", ".join(f"{source}: {number}" for source, number in counts.most_common())

    @property
    def fingerprint(self) -> str:
        """Hash (sha256, hex) of the cases' names and images in their order, so that a resumed run knows its data again.

        An image changes with its source file, and with any setting of its preprocessing.
        """
        content = [sorted(self.case_ids.items()), sorted(self.image_hashes.items())]
        return hashlib.sha256(repr(content).encode()).hexdigest()


def image_hash(image: Tensor) -> str:
    """Return a sha256 hex digest of an image's values.

    >>> image_hash(torch.zeros(3, 2, 2)) == image_hash(torch.zeros(3, 2, 2).transpose(0, 1).transpose(0, 1))
    True
    """
    return hashlib.sha256(image.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
