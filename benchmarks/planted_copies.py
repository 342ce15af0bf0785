# SPDX-License-Identifier: Apache-2.0
"""How many planted copies of training images are found, and how many other images are called copies.

For each seed the images of a data set are split by patient into training images, held-out real ones that the thresholds
are set by, and others. A generated set is made up of copies of training images, each changed in one way, and of the
others, which are no copies. Phantoms stand in for patients, prepared as the bundle's train.json says:

    python -m medti_components phantoms prostate_mri --output_dir P --num_negative 200 --num_positive 200
    python benchmarks/planted_copies.py prostate_mri --dataset_dir P
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from result_table import show_table
from torch import Tensor
from torch.nn import functional

from medti_components.evaluation.copy_detection import CopyDetection
from medti_components.evaluation.image_features import ImageFeatures
from medti_components.metrics.aligned_correlation import AlignedCorrelation
from medti_components.metrics.exact_share import exact_share
from medti_components.networks.feature_network import feature_network
from medti_components.random_streams import random_stream

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
FIELDS = ("images", "planted", "found", "share", "95 %", "by pixels", "by features")
Change = Callable[[Tensor, torch.Generator], Tensor]


def uniform(low: float, high: float, stream: torch.Generator) -> float:
    """Draw one number."""
    return low + (high - low) * float(torch.rand((), generator=stream))


def mirrored(image: Tensor, stream: torch.Generator) -> Tensor:
    """Left and right changed."""
    del stream
    return image.flip(-1)


def turned(image: Tensor, stream: torch.Generator) -> Tensor:
    """One of the seven other orientations."""
    number = 1 + int(torch.randint(7, (), generator=stream))
    rotated = image.rot90(number % 4, (-2, -1))
    return rotated.flip(-1) if number >= 4 else rotated


def cropped(image: Tensor, stream: torch.Generator) -> Tensor:
    """A square of 75 to 95 % of the edge, anywhere, enlarged to the whole."""
    edge = image.shape[-1]
    inner = round(edge * uniform(0.75, 0.95, stream))
    top, left = torch.randint(edge - inner + 1, (2,), generator=stream).tolist()
    window = image[None, :, top : top + inner, left : left + inner]
    return functional.interpolate(window, (edge, edge), mode="bilinear")[0]


def noised(image: Tensor, stream: torch.Generator) -> Tensor:
    """Normal noise whose standard deviation is 5 to 10 % of the range of values."""
    noise = torch.randn(image.shape, generator=stream) * uniform(0.1, 0.2, stream)
    return (image + noise).clamp(-1, 1)


def compressed(image: Tensor, stream: torch.Generator) -> Tensor:
    """JPEG of quality 15 to 50, each channel a grey picture."""
    quality = int(uniform(15, 50, stream))
    return torch.stack([through_jpeg(channel, quality) for channel in image])


def compressed_in_colour(image: Tensor, stream: torch.Generator) -> Tensor:
    """JPEG of quality 15 to 50, the channels red, green and blue."""
    return through_jpeg(image.permute(1, 2, 0), int(uniform(15, 50, stream))).permute(2, 0, 1)


def through_jpeg(values: Tensor, quality: int) -> Tensor:
    """Write values in [-1, 1], (H, W) or (H, W, 3), as JPEG and read them again."""
    buffer = io.BytesIO()
    Image.fromarray(((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()).save(
        buffer, "JPEG", quality=quality
    )
    with Image.open(buffer) as picture:
        return torch.from_numpy(np.array(picture)).float() / 127.5 - 1


def shifted_in_intensity(image: Tensor, stream: torch.Generator) -> Tensor:
    """Gamma 0.7 to 1.4, contrast 0.7 to 1.2, brightness up to 10 % of the range, clipped."""
    bent = ((image + 1) / 2).clamp(0, 1) ** uniform(0.7, 1.4, stream) * 2 - 1
    return (bent * uniform(0.7, 1.2, stream) + uniform(-0.2, 0.2, stream)).clamp(-1, 1)


def changes(any_orientation: bool, in_colour: bool) -> dict[str, Change]:
    """The kinds of copies, by name."""
    return {
        "turned or mirrored" if any_orientation else "mirrored": turned if any_orientation else mirrored,
        "cropped": cropped,
        "noised": noised,
        "JPEG": compressed_in_colour if in_colour else compressed,
        "intensity-shifted": shifted_in_intensity,
    }


def load_images(
    bundle: str, dataset_dir: Path, cache_dir: Path, num_cases: int, image_size: int
) -> tuple[Tensor, list]:
    """Return images of one patient each, (n, 3, H, W), prepared as for training, and the patients."""
    parser = ConfigParser(
        ConfigParser.load_config_file(BUNDLES / f"{bundle}_textual_inversion" / "configs" / "train.json")
    )
    parser.update(
        {
            "dataset_dir": str(dataset_dir),
            "cache_dir": str(cache_dir),
            "num_cases": num_cases,
            "num_validation_cases": 0,
            "image_size": image_size,
        }
    )
    items = {item["patient_id"]: item["image"] for item in parser.get_parsed_content("train::dataset")}
    return torch.stack(list(items.values())), list(items)


class Trial:
    """Copies planted among other images, and which of them were found.

    Args:
        detection: what looks for them.
        images: (n, 3, H, W), one a patient.
        num_training: images that are copied from.
        num_held_out: images that thresholds are set by.
        num_others: images that are no copies.
        num_copies: of each kind.
        kinds: the changes.
        seed: draws who is in which set, and the changes.
    """

    def __init__(
        self,
        detection: CopyDetection,
        images: Tensor,
        num_training: int,
        num_held_out: int,
        num_others: int,
        num_copies: int,
        kinds: dict[str, Change],
        seed: int,
    ) -> None:
        if len(images) < num_training + num_held_out + num_others:
            raise SystemExit(
                f"error: {num_training} + {num_held_out} + {num_others} patients asked for, {len(images)} there"
            )
        order = torch.randperm(len(images), generator=random_stream(seed, "split"))
        training, held_out, others = (
            images[part]
            for part in order[: num_training + num_held_out + num_others].split(
                [num_training, num_held_out, num_others]
            )
        )
        generated, self.origins = [others], [torch.full((num_others,), -1)]
        for kind, change in kinds.items():
            stream = random_stream(seed, kind)
            chosen = torch.randperm(num_training, generator=stream)[:num_copies]
            generated.append(torch.stack([change(image, stream) for image in training[chosen]]))
            self.origins.append(chosen)
        sets = {"generated": torch.cat(generated), "real": held_out, "training": training}
        searches = detection.search(sets, list(range(num_training)))
        sizes = [len(each) for each in generated]
        self.found = {space: search.is_copy.split(sizes) for space, search in searches.items()}


def main() -> None:
    """Parse arguments, run the trials, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", choices=("prostate_mri", "chest_xray", "histopathology"))
    parser.add_argument("--dataset_dir", type=Path, required=True)
    parser.add_argument("--cache_dir", type=Path, default=Path("cache/planted_copies"))
    parser.add_argument("--num_cases", type=int, default=200, help="images of each concept to read")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--num_training", type=int, default=100)
    parser.add_argument("--num_held_out", type=int, default=100)
    parser.add_argument("--num_others", type=int, default=150)
    parser.add_argument("--num_copies", type=int, default=25, help="of each kind")
    parser.add_argument("--false_positive_rate", type=float, default=0.008)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--output", type=Path, help="CSV file of the table")
    options = parser.parse_args()
    any_orientation = options.bundle == "histopathology"
    images, _ = load_images(
        options.bundle, options.dataset_dir, options.cache_dir, options.num_cases, options.image_size
    )
    detection = CopyDetection(
        ImageFeatures(feature_network(), show_progress=False, cache_dir=options.cache_dir / "features"),
        AlignedCorrelation(any_orientation, show_progress=True),
        options.false_positive_rate,
    )
    kinds = changes(any_orientation, in_colour=any_orientation)
    sizes = (options.num_training, options.num_held_out, options.num_others, options.num_copies)
    trials = [Trial(detection, images, *sizes, kinds, seed) for seed in options.seeds]
    rows = []
    for number, name in enumerate(("no copies", *kinds)):
        by = {space: torch.cat([trial.found[space][number] for trial in trials]) for space in trials[0].found}
        either = by["pixels"] | by["features"]
        share = exact_share(float(either.double().mean()), len(either), "images")
        rows.append(
            (
                name,
                str(len(either)),
                str(int(either.sum())),
                f"{share.value:.3f}",
                f"{share.low:.3f} to {share.high:.3f}",
                *(str(int(found.sum())) for found in by.values()),
            )
        )
    show_table(FIELDS, rows, options.output)


if __name__ == "__main__":
    main()
