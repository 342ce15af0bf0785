# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from medti_components.data.latent_cache import LatentCache
from medti_components.errors import DataError
from medti_components.networks.frozen_latent_diffusion import FrozenLatentDiffusion


def item(concept: str, number: int, size: int = 32, value: float | None = None) -> dict:
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(number)) * 2 - 1
    image = image if value is None else torch.full((3, size, size), value)
    return {"image": image, "concept": concept, "patient_id": str(number), "study_id": "1"}


@pytest.fixture
def model(micro_base: Path) -> FrozenLatentDiffusion:
    return FrozenLatentDiffusion.from_pretrained(str(micro_base))


def test_latents_are_what_the_model_encodes_grouped_by_concept(model: FrozenLatentDiffusion) -> None:
    items = [item("<a>", 1), item("<b>", 2), item("<a>", 3)]

    cache = LatentCache.from_dataset(items, model, ["<a>", "<b>"], show_progress=False)

    expected = [model.encode(entry["image"][None]) for entry in items]
    assert cache.case_ids == {"<a>": ("1_1", "3_1"), "<b>": ("2_1",)}
    torch.testing.assert_close(cache.mean["<a>"], torch.cat([expected[0][0], expected[2][0]]))
    torch.testing.assert_close(cache.std["<a>"], torch.cat([expected[0][1], expected[2][1]]))
    torch.testing.assert_close(cache.mean["<b>"], expected[1][0])


def test_each_image_is_encoded_once(model: FrozenLatentDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda images: (encoded.append(len(images)), encode(images))[1])

    LatentCache.from_dataset([item("<a>", number) for number in range(11)], model, ["<a>"], show_progress=False)

    assert sum(encoded) == 11


def test_concept_without_images_is_an_error_that_names_it(model: FrozenLatentDiffusion) -> None:
    with pytest.raises(DataError, match="no image for '<b>': check dataset_dir, concepts and num_cases"):
        LatentCache.from_dataset([item("<a>", 1)], model, ["<a>", "<b>"], show_progress=False)


def test_concept_without_images_is_left_out_where_none_is_required(model: FrozenLatentDiffusion) -> None:
    cache = LatentCache.from_dataset([], model, ["<a>"], is_required=False, show_progress=False)

    assert cache.concepts == ()
    assert cache.num_cases("<a>") == 0


def test_image_of_an_unknown_concept_is_an_error(model: FrozenLatentDiffusion) -> None:
    with pytest.raises(DataError, match=r"case 1_1 is of '<b>', which is not in concepts \(<a>\)"):
        LatentCache.from_dataset([item("<b>", 1)], model, ["<a>"], show_progress=False)


def test_image_of_another_size_than_the_base_models_is_an_error(model: FrozenLatentDiffusion) -> None:
    with pytest.raises(DataError, match=r"case 7_1 must have shape \(3, 32, 32\) for .*, got \(3, 16, 16\)"):
        LatentCache.from_dataset([item("<a>", 7, size=16)], model, ["<a>"], show_progress=False)


def test_image_with_a_value_that_is_not_finite_is_an_error_that_names_the_case(model: FrozenLatentDiffusion) -> None:
    items = [item("<a>", 1), item("<a>", 2, value=float("nan"))]

    with pytest.raises(DataError, match="latents of case 2_1 are not finite: look at it, or set --dtype float32"):
        LatentCache.from_dataset(items, model, ["<a>"], show_progress=False)


def test_mean_and_std_of_other_shapes_are_an_error() -> None:
    with pytest.raises(DataError, match="mean, std and case_ids of '<a>' must agree"):
        LatentCache({"<a>": torch.zeros(2, 4, 1, 1)}, {"<a>": torch.zeros(1, 4, 1, 1)}, {"<a>": ["1", "2"]})


def test_fingerprint_tells_other_cases_and_other_orders_apart() -> None:
    def fingerprint(names: list[str]) -> str:
        zeros = torch.zeros(len(names), 1, 1, 1)
        return LatentCache({"<a>": zeros}, {"<a>": zeros}, {"<a>": names}).fingerprint

    assert fingerprint(["1", "2"]) == fingerprint(["1", "2"])
    assert len({fingerprint(["1", "2"]), fingerprint(["2", "1"]), fingerprint(["1", "3"])}) == 3


def test_who_made_the_masks_is_counted_by_concept(model: FrozenLatentDiffusion) -> None:
    sources = ["human_expert/resampled", "human_expert/Pooch25", "human_expert/resampled"]
    items = [item("<a>", number) | {"mask_source": source} for number, source in enumerate(sources)]

    cache = LatentCache.from_dataset([*items, item("<b>", 9)], model, ["<a>", "<b>"], show_progress=False)

    assert cache.masks("<a>") == "human_expert/resampled: 2, human_expert/Pooch25: 1"
    assert cache.masks("<b>") == ""


def test_fingerprint_tells_other_images_of_the_same_names_apart(model: FrozenLatentDiffusion) -> None:
    items = [item("<a>", 1), item("<a>", 2)]
    before = LatentCache.from_dataset(items, model, ["<a>"], show_progress=False).fingerprint
    again = LatentCache.from_dataset(items, model, ["<a>"], show_progress=False).fingerprint
    image = items[1]["image"].clone()
    image[0, 0, 0] = torch.nextafter(image[0, 0, 0], torch.tensor(1.0))
    other = [items[0], {**items[1], "image": image}]

    assert before == again
    assert LatentCache.from_dataset(other, model, ["<a>"], show_progress=False).fingerprint != before
