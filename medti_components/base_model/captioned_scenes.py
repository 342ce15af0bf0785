# SPDX-License-Identifier: Apache-2.0
"""Procedural captioned scenes, no medical image: what the embedded base model learns pictures and words from."""

from dataclasses import dataclass

import numpy as np
import torch

from medti_components.base_model.scene_renderer import (
    BASIC_SHAPES,
    GROUNDS,
    OBJECT_FIELDS,
    SHAPES,
    TEXTURES,
    SceneParameters,
    render_scenes,
)
from medti_components.random_streams import stream_seed

COLOURS = {
    "black": (0.04, 0.04, 0.04),
    "charcoal": (0.2, 0.2, 0.2),
    "grey": (0.45, 0.45, 0.45),
    "silver": (0.7, 0.7, 0.7),
    "white": (0.96, 0.96, 0.96),
    "red": (0.85, 0.12, 0.1),
    "orange": (0.95, 0.55, 0.1),
    "yellow": (0.95, 0.88, 0.15),
    "olive": (0.45, 0.45, 0.12),
    "green": (0.15, 0.65, 0.2),
    "teal": (0.1, 0.6, 0.6),
    "cyan": (0.2, 0.85, 0.9),
    "blue": (0.15, 0.25, 0.85),
    "navy": (0.08, 0.1, 0.4),
    "purple": (0.5, 0.15, 0.7),
    "magenta": (0.85, 0.2, 0.75),
    "pink": (0.95, 0.65, 0.75),
    "brown": (0.45, 0.27, 0.12),
    "maroon": (0.4, 0.06, 0.1),
    "cream": (0.95, 0.9, 0.75),
}
COLOUR_NAMES = tuple(COLOURS)
NUM_GREYS = 5
SIZES = {"tiny": 0.06, "small": 0.1, "medium": 0.16, "large": 0.26, "huge": 0.42}  # half width, in image widths
SIZE_NAMES = tuple(SIZES)
ROWS = ("top", "upper", "middle", "lower", "bottom")
COLUMNS = ("leftmost", "left", "centre", "right", "rightmost")
ORIENTATIONS = {"horizontal": 0.0, "rising": -np.pi / 4, "vertical": np.pi / 2, "falling": np.pi / 4}
FAINT, FAINTER = 0.45, 0.2  # opacities below which an object is called faint, and dim
SHAPE_SHARES = (0.17, 0.1, 0.08, 0.07, 0.05, 0.05, 0.11, 0.05, 0.05, 0.05, 0.13, 0.06, 0.03)
TEXTURE_SHARES = (0.46, 0.06, 0.06, 0.04, 0.08, 0.07, 0.08, 0.07, 0.05, 0.03)
GROUND_SHARES = (0.24, 0.18, 0.18, 0.13, 0.12, 0.08, 0.07)
BASIC_TEXTURE_SHARES = (0.5, 0.08, 0.08, 0.06, 0.1, 0.09, 0.09)
BASIC_GROUND_SHARES = (0.3, 0.25, 0.25, 0.2)
MAX_OBJECTS = 12
GREY_SHARE, BASIC_GREY_SHARE = 0.5, 0.35  # of scenes in which nearly all is grey
BODY_SHARE = 0.35  # of scenes in which one huge object holds most of the others, as a body its organs
MAX_WORDS = 60  # longer captions cost time and say little more
BASIC_MAX_WORDS = 75  # what a text encoder of 77 positions takes, one token per word


@dataclass
class CaptionedScenes:
    """Images (N, 3, size, size) uint8 and one caption each."""

    images: torch.Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def _fifth(names: tuple[str, ...], position: float) -> str:
    return names[min(int(position * 5), 4)]


def _vary(colour: tuple[float, float, float], rng: np.random.Generator, spread: float = 0.05) -> np.ndarray:
    return np.clip(np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3), 0, 1)


def _draw_opacity(shape: str, rng: np.random.Generator) -> float:
    """Draw how much an object covers: spots anything from 6 %, other objects nearly all in four cases of five."""
    if shape == "spot":
        return float(np.exp(rng.uniform(np.log(0.06), 0.0)))
    strength = rng.random()
    if strength < 0.07:
        return float(rng.uniform(0.06, FAINTER))
    return float(rng.uniform(FAINTER, FAINT) if strength < 0.2 else rng.uniform(0.85, 1.0))


def _draw_object(
    scene: SceneParameters, index: int, slot: int, rng: np.random.Generator, grey: bool, is_rich: bool
) -> tuple[str, ...]:
    """Draw one object's parameters into ``slot`` and return its words, the shape last."""
    shape = int(rng.choice(len(SHAPES), p=SHAPE_SHARES) if is_rich else rng.integers(len(BASIC_SHAPES)))
    name = SHAPES[shape]
    size = int(rng.choice(len(SIZE_NAMES), p=(0.12, 0.25, 0.28, 0.22, 0.13)))
    texture_shares = TEXTURE_SHARES if is_rich else BASIC_TEXTURE_SHARES
    texture = int(rng.choice(len(texture_shares), p=texture_shares)) if name not in ("spot", "line") else 0
    if name == "spot":
        size = int(rng.choice(len(SIZE_NAMES), p=(0.4, 0.35, 0.2, 0.05, 0.0)))
    colour = int(rng.integers(NUM_GREYS if grey else len(COLOUR_NAMES)))
    radius = SIZES[SIZE_NAMES[size]] * np.exp(rng.uniform(-0.2, 0.2))
    words = [SIZE_NAMES[size]]
    elongation, angle = np.exp(rng.uniform(-0.12, 0.12)), rng.uniform(-0.15, 0.15)
    if name in ("line", "band"):
        direction = str(rng.choice(list(ORIENTATIONS)))
        elongation, angle = rng.uniform(8, 30), ORIENTATIONS[direction] + rng.normal(0, 0.12)
        words.append(direction)
    elif rng.random() < 0.4:  # long ones have a direction worth a word
        direction = str(rng.choice(list(ORIENTATIONS)))
        elongation, angle = rng.uniform(1.4, 2.6), ORIENTATIONS[direction] + rng.normal(0, 0.1)
        words.append(f"{direction} long")
    soft = rng.random() < 0.35 and name not in ("spot", "line")
    if is_rich:
        opacity = _draw_opacity(name, rng)
        contrast = "faint" if FAINTER <= opacity < FAINT else "dim" if opacity < FAINTER else ""
    else:
        contrast = "faint" if rng.random() < 0.2 else ""
    if soft:
        words.append("soft")
    if contrast:
        words.append(contrast)
    if texture:
        words.append(TEXTURES[texture])
    if is_rich:
        rim = int(rng.integers(NUM_GREYS if grey else len(COLOUR_NAMES)))
        if name not in ("spot", "line", "band", "ring", "arch") and size > 0 and rim != colour and rng.random() < 0.18:
            scene.rim[index, slot] = radius / np.sqrt(elongation) * rng.uniform(0.12, 0.35)
            scene.rim_colour[index, slot] = _vary(COLOURS[COLOUR_NAMES[rim]], rng)
            words.append(f"{COLOUR_NAMES[rim]} rimmed")
    words.append(COLOUR_NAMES[colour])
    words.append(SHAPES[shape])
    base = COLOURS[COLOUR_NAMES[colour]]
    scene.shape[index, slot] = shape
    scene.texture[index, slot] = texture
    scene.centre[index, slot] = (rng.uniform(0.06, 0.94), rng.uniform(0.06, 0.94))
    scene.radii[index, slot] = (radius * np.sqrt(elongation), radius / np.sqrt(elongation))
    if name == "line":
        scene.radii[index, slot] = (radius * 1.6, rng.uniform(0.006, 0.02))
    if name == "band":
        scene.radii[index, slot] = (2.0, radius * 0.45)
    scene.angle[index, slot] = angle
    scene.colour[index, slot] = _vary(base, rng)
    scene.second_colour[index, slot] = np.clip(scene.colour[index, slot] * rng.uniform(0.25, 0.6), 0, 1)
    if texture and max(base) < 0.25:
        scene.second_colour[index, slot] = scene.colour[index, slot] + rng.uniform(0.25, 0.5)
    scene.edge[index, slot] = rng.uniform(0.02, 0.06) if soft else rng.uniform(0.004, 0.01)
    if not is_rich:
        opacity = rng.uniform(0.25, 0.45) if contrast else rng.uniform(0.85, 1.0)
    scene.opacity[index, slot] = opacity
    scene.phase[index, slot] = rng.uniform(0, 2 * np.pi, 4)
    scene.frequency[index, slot] = np.exp(rng.uniform(np.log(5), np.log(15))) if is_rich else rng.uniform(5, 14)
    return tuple(words)


def _mirror_object(scene: SceneParameters, index: int, source: int, axis: float) -> None:
    """Draw the object of slot ``source`` once more in the next slot, mirrored about the vertical line x = ``axis``."""
    for name in OBJECT_FIELDS:
        values = getattr(scene, name)
        values[index, source + 1] = values[index, source]
    scene.centre[index, source + 1, 0] = 2 * axis - scene.centre[index, source, 0]
    scene.radii[index, source + 1, 0] *= -1
    scene.angle[index, source + 1] *= -1


def _resize_object(
    scene: SceneParameters, index: int, slot: int, radius: float, words: tuple[str, ...]
) -> tuple[str, ...]:
    """Scale an object so that its longer radius is ``radius``, and return its words with the size that fits."""
    if words[-1] in ("line", "band"):
        return words
    scale = radius / scene.radii[index, slot].max()
    scene.radii[index, slot] *= scale
    scene.rim[index, slot] *= scale
    mean = np.sqrt(scene.radii[index, slot].prod())
    size = int(np.abs(np.log(np.array(list(SIZES.values())) / mean)).argmin())
    return (SIZE_NAMES[size], *words[1:])


def _half_extent(scene: SceneParameters, index: int, slot: int) -> np.ndarray:
    """Half of an object's width and height, as an ellipse has them."""
    rx, ry = scene.radii[index, slot]
    cosine, sine = np.cos(scene.angle[index, slot]), np.sin(scene.angle[index, slot])
    return np.hypot([rx * cosine, rx * sine], [ry * sine, ry * cosine])


def _place_in_body(
    scene: SceneParameters, index: int, slot: int, words: tuple[str, ...], rng: np.random.Generator, keep: float
) -> tuple[str, int]:
    """Place slot's object, or a mirrored pair of it, in the body of slot 0; return its phrase and the next slot."""
    centre, extent = scene.centre[index, 0], _half_extent(scene, index, 0)
    if rng.random() < 0.45 and slot + 1 < MAX_OBJECTS:
        words = _resize_object(scene, index, slot, rng.uniform(0.15, 0.65) * extent.max(), words)
        scene.centre[index, slot] = centre + extent * (-rng.uniform(0.2, 0.65), rng.uniform(-0.5, 0.5))
        _mirror_object(scene, index, slot, float(centre[0]))
        return f"pair of {_phrase(words, rng, keep)} inside", slot + 2
    words = _resize_object(scene, index, slot, rng.uniform(0.1, 0.5) * extent.max(), words)
    scene.centre[index, slot] = centre + extent * rng.uniform(-0.65, 0.65, 2)
    return f"{_phrase(words, rng, keep)} inside", slot + 1


def _phrase(words: tuple[str, ...], rng: np.random.Generator, keep: float) -> str:
    """Join an object's words, leaving some attributes out; the shape always stays."""
    kept = [word for word in words[:-1] if rng.random() < keep]
    return " ".join([*kept, words[-1]])


def _place_phrase(place: list[str], rng: np.random.Generator, keep: float) -> str:
    """Say where, leaving words out with probability 1 - ``keep`` each."""
    kept = [word for word in place if rng.random() < keep]
    return f" at the {' '.join(kept)}" if kept else ""


def _draw_scene(scene: SceneParameters, index: int, rng: np.random.Generator, is_rich: bool) -> str:
    grey = rng.random() < (GREY_SHARE if is_rich else BASIC_GREY_SHARE)
    ground_shares = GROUND_SHARES if is_rich else BASIC_GROUND_SHARES
    ground = int(rng.choice(len(ground_shares), p=ground_shares))
    colour = int(rng.integers(NUM_GREYS if grey else len(COLOUR_NAMES)))
    scene.ground[index] = ground
    scene.ground_colour[index] = _vary(COLOURS[COLOUR_NAMES[colour]], rng)
    shift = np.exp(rng.uniform(np.log(0.08), np.log(0.5))) if is_rich else rng.uniform(0.2, 0.5)
    shift *= 1 if scene.ground_colour[index].mean() < 0.5 else -1
    scene.ground_second_colour[index] = np.clip(scene.ground_colour[index] + shift, 0, 1)
    scene.ground_phase[index] = rng.uniform(0, 2 * np.pi, 4)
    scene.ground_frequency[index] = np.exp(rng.uniform(np.log(5), np.log(15))) if is_rich else 1.0
    ground_words = f"{GROUNDS[ground]} {COLOUR_NAMES[colour]} ground"
    if is_rich and rng.random() < 0.2:
        scene.ground_shading[index] = rng.normal(0, 0.4, 3)
        ground_words = f"shaded {ground_words}"

    wanted = int(min(rng.geometric(0.35), MAX_OBJECTS)) if rng.random() > 0.03 else 0
    # half of the captions leave much open, as a learned word does: it stands for all places where a finding may be
    is_full = rng.random() < 0.5
    keep = rng.uniform(0.8, 1.0) if is_full else rng.uniform(0.2, 0.8)
    phrases: list[str] = []
    parts: list[str] = []
    has_body = wanted > 0 and rng.random() < BODY_SHARE
    if has_body:
        wanted = min(wanted + 2, MAX_OBJECTS)
    slot = 0
    while slot < wanted:
        words = _draw_object(scene, index, slot, rng, grey and rng.random() < 0.9, is_rich)
        if has_body and slot == 0:
            words = _resize_object(scene, index, slot, rng.uniform(0.38, 0.6), words)
            scene.centre[index, slot] = rng.uniform(0.42, 0.58, 2)
        elif has_body and rng.random() < 0.8:
            part, slot = _place_in_body(scene, index, slot, words, rng, keep)
            place = [_fifth(ROWS, scene.centre[index, slot - 1, 1])]
            if not part.startswith("pair"):
                place.append(_fifth(COLUMNS, scene.centre[index, slot - 1, 0]))
            parts.append(part + _place_phrase(place, rng, 0.6 if is_full else 0.2))
            continue
        x, y = scene.centre[index, slot]
        kind = rng.random()
        if has_body and slot == 0:
            phrase = _phrase(words, rng, keep)
        elif kind < 0.22 and slot + 1 < MAX_OBJECTS:  # the same thing twice, mirrored about the vertical midline
            x = rng.uniform(0.05, 0.4)
            scene.centre[index, slot, 0] = x
            _mirror_object(scene, index, slot, 0.5)
            phrase = f"{'outer' if x < 0.22 else 'inner'} pair of {_phrase(words, rng, keep)}"
            phrase += _place_phrase([_fifth(ROWS, y)], rng, 1.0 if is_full else 0.4)
            slot += 1
        elif kind < 0.4 and slot > 0 and np.abs(scene.radii[index, slot - 1]).max() > 0.12:  # inside the one before
            radius = np.abs(scene.radii[index, slot - 1]).min()
            scene.centre[index, slot] = scene.centre[index, slot - 1] + rng.uniform(-0.3, 0.3, 2) * radius
            if words[-1] not in ("line", "band"):
                scale = min(1.0, 0.55 * radius / max(scene.radii[index, slot]))
                scene.radii[index, slot] *= scale
                scene.rim[index, slot] *= scale
            phrase = f"{_phrase(words[1:], rng, keep)} inside"
            if phrases:
                phrases[-1] = f"{phrases[-1]} with {phrase}"
                slot += 1
                continue
        else:
            phrase = _phrase(words, rng, keep)
            phrase += _place_phrase([_fifth(ROWS, y), _fifth(COLUMNS, x)], rng, 1.0 if is_full else 0.4)
        phrases.append(phrase)
        slot += 1
    scene.count[index] = slot
    max_words = MAX_WORDS if is_rich else BASIC_MAX_WORDS
    if parts:
        if rng.random() < (0.05 if is_full else 0.3):
            parts = parts[: max(1, len(parts) // 2)]
        while sum(len(part.split()) + 1 for part in parts) > max_words // 2 + 8:
            parts.pop()
        phrases[0] = " with ".join([phrases[0], *parts])
    order = rng.permutation(len(phrases))
    phrases = [phrases[i] for i in order]
    if rng.random() < (0.05 if is_full else 0.3):  # short captions name only some of what is there
        phrases = phrases[: max(1, len(phrases) // 2)]
    while sum(len(phrase.split()) + 1 for phrase in phrases) + 4 > max_words:
        phrases.pop()
    text = " , ".join(phrases)
    if not text:
        return ground_words
    if rng.random() < (0.95 if is_full else 0.6):
        return f"{text} on {ground_words}" if rng.random() < 0.7 else f"{ground_words} , {text}"
    return text


def draw_captioned_scenes(
    first: int, count: int, image_size: int = 64, seed: int = 0, is_rich: bool = False
) -> CaptionedScenes:
    """Draw scenes ``first`` to ``first + count``; scene i depends on ``seed`` and i alone.

    Args:
        first: number of the first scene.
        count: how many.
        image_size: height and width in pixels.
        seed: the run's seed.
        is_rich: also draw spots, lines, bands, rims, shading and further textures. What the base model learns from is
            rich; what the feature network learned from, and the weights of the base model that come with the software,
            is not.

    Returns:
        Images (count, 3, image_size, image_size), uint8 in [0, 255], and captions of 1 to 60 words, or 75 if not rich.

    >>> scenes = draw_captioned_scenes(5, 2, image_size=32)
    >>> tuple(scenes.images.shape), scenes.images.dtype, len(scenes.captions)
    ((2, 3, 32, 32), torch.uint8, 2)
    """
    scene = SceneParameters.empty(count, MAX_OBJECTS + 1)
    captions = []
    for index in range(count):
        rng = np.random.default_rng(stream_seed(seed, "scene", first + index))
        captions.append(_draw_scene(scene, index, rng, is_rich))
    generator = torch.Generator().manual_seed(stream_seed(seed, "grain", first))
    return CaptionedScenes(render_scenes(scene, image_size, generator), captions)
