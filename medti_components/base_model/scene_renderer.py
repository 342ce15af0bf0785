# SPDX-License-Identifier: Apache-2.0
"""Rendering of procedural scenes, many at once."""

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F

BASIC_SHAPES = ("disc", "ring", "square", "triangle", "cross", "star", "blob", "crescent", "dome", "arch")
BASIC_TEXTURES = ("plain", "striped", "dotted", "checked", "cloudy", "grainy", "graded")
BASIC_GROUNDS = ("plain", "graded", "cloudy", "grainy")
SHAPES = (*BASIC_SHAPES, "spot", "line", "band")
TEXTURES = (*BASIC_TEXTURES, "speckled", "pebbled", "wavy")
GROUNDS = (*BASIC_GROUNDS, "speckled", "pebbled", "wavy")


@dataclass
class SceneParameters:
    """Parameters of N scenes of at most M objects; lengths in image widths, colours in [0, 1], angles in radians."""

    count: np.ndarray  # (N,) objects in each scene
    ground: np.ndarray  # (N,) index into GROUNDS
    ground_colour: np.ndarray  # (N, 3)
    ground_second_colour: np.ndarray  # (N, 3)
    ground_phase: np.ndarray  # (N, 4)
    shape: np.ndarray  # (N, M) index into SHAPES
    texture: np.ndarray  # (N, M) index into TEXTURES
    centre: np.ndarray  # (N, M, 2) x, y
    radii: np.ndarray  # (N, M, 2); a negative first one mirrors the object
    angle: np.ndarray  # (N, M)
    colour: np.ndarray  # (N, M, 3)
    second_colour: np.ndarray  # (N, M, 3)
    edge: np.ndarray  # (N, M) width of the edge
    opacity: np.ndarray  # (N, M)
    phase: np.ndarray  # (N, M, 4)
    frequency: np.ndarray  # (N, M) periods of a texture across the image
    rim: np.ndarray  # (N, M) width of the rim inside the edge; 0 is none
    rim_colour: np.ndarray  # (N, M, 3)
    ground_frequency: np.ndarray  # (N,)
    ground_shading: np.ndarray  # (N, 3) brightness: slope to the right, to the bottom, to the border

    @classmethod
    def empty(cls, num_scenes: int, max_objects: int) -> "SceneParameters":
        """Return parameters of ``num_scenes`` scenes, all zero."""
        tails = {
            "ground_colour": (3,),
            "ground_second_colour": (3,),
            "ground_phase": (4,),
            "centre": (2,),
            "radii": (2,),
        }
        tails |= {"colour": (3,), "second_colour": (3,), "phase": (4,), "rim_colour": (3,), "ground_shading": (3,)}
        integers = {"count", "ground", "shape", "texture"}
        arrays = {}
        for field in fields(cls):
            is_scene = field.name == "count" or field.name.startswith("ground")
            lead = (num_scenes,) if is_scene else (num_scenes, max_objects)
            dtype = np.int64 if field.name in integers else np.float32
            arrays[field.name] = np.zeros(lead + tails.get(field.name, ()), dtype)
        return cls(**arrays)


OBJECT_FIELDS = tuple(
    field.name for field in fields(SceneParameters) if field.name != "count" and not field.name.startswith("ground")
)


def _clouds(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth noise of several octaves, (count, size, size) in [0, 1]."""
    total = torch.zeros(count, 1, size, size)
    for octave, weight in ((3, 1.0), (6, 0.6), (12, 0.35)):
        noise = torch.randn(count, 1, octave + 1, octave + 1, generator=generator)
        total += weight * F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)
    return torch.sigmoid(1.8 * total[:, 0])


def _speckles(frequency: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Noise of one scale, (n, size, size) in [0, 1]; about ``frequency`` grains across."""
    share = torch.empty(len(frequency), size, size)
    scale = frequency.flatten().clamp(6, 31).round().long()
    for number in scale.unique().tolist():
        chosen = scale == number
        noise = torch.randn(int(chosen.sum()), 1, number + 1, number + 1, generator=generator)
        share[chosen] = torch.sigmoid(
            1.6 * F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)[:, 0]
        )
    return share


def _pebbles(x: torch.Tensor, y: torch.Tensor, frequency: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Irregular dots, one a cell of a jittered grid (Worley, SIGGRAPH 1996), (n, S, S) in [0, 1]."""
    count, size, cells = len(frequency), x.shape[-1], 16
    jitter = torch.rand(count, 4, (cells + 2) ** 2, generator=generator)
    u, v = (x * frequency).expand(count, size, size), (y * frequency).expand(count, size, size)
    column, row = u.floor().long(), v.floor().long()
    share = torch.zeros(count, size, size)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            cell = ((row + down + 1) * (cells + 2) + column + right + 1).flatten(1)
            dx, dy, radius, stretch = (jitter[:, k].gather(1, cell).view(count, size, size) for k in range(4))
            stretch = 0.75 + 0.5 * stretch
            distance = torch.hypot((u - column - right - dx) * stretch, (v - row - down - dy) / stretch)
            dots = torch.sigmoid((0.22 + 0.3 * radius - distance) * 128 / frequency)
            share = torch.maximum(share, dots)
    return share


def _distance(shape: int, u: torch.Tensor, v: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """Signed distance to a shape of unit radius, good near its edge; u, v are (n, S, S), phase (n, 4, 1, 1)."""
    radius = torch.hypot(u, v)
    name = SHAPES[shape]
    if name == "disc":
        return radius - 1
    if name == "ring":
        return (radius - 0.74).abs() - 0.26
    if name == "square":
        return torch.maximum(u.abs(), v.abs()) - 0.9
    if name == "triangle":
        return torch.maximum(0.866 * u.abs() - 0.5 * v, v) - 0.55
    if name == "cross":
        return torch.minimum(torch.maximum(u.abs(), 3 * v.abs()), torch.maximum(3 * u.abs(), v.abs())) - 1
    if name == "star":
        return radius - 0.75 - 0.3 * torch.cos(5 * torch.atan2(v, u) + phase[:, 0])
    if name == "blob":
        theta = torch.atan2(v, u)
        wave = 0.16 * torch.cos(2 * theta + phase[:, 0]) + 0.14 * torch.cos(3 * theta + phase[:, 1])
        return radius - 0.9 - wave - 0.08 * torch.cos(5 * theta + phase[:, 2])
    if name == "crescent":
        return torch.maximum(radius - 1, 0.85 - torch.hypot(u - 0.45, v))
    if name == "dome":
        return torch.maximum(radius - 1, v - 0.15)
    if name in ("line", "band"):
        return torch.maximum(u.abs(), v.abs()) - 1
    if name == "spot":
        return radius - 0.8
    return torch.maximum((radius - 0.72).abs() - 0.28, v - 0.1)  # arch


def _pattern(
    texture: int,
    x: torch.Tensor,
    y: torch.Tensor,
    phase: torch.Tensor,
    frequency: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """Share of the second colour, (n, S, S) in [0, 1]."""
    name = TEXTURES[texture]
    count, size = len(phase), x.shape[-1]
    angle = phase[:, 0]
    along = (x * torch.cos(angle) + y * torch.sin(angle)) * frequency * 2 * torch.pi + phase[:, 1]
    across = (-x * torch.sin(angle) + y * torch.cos(angle)) * frequency * 2 * torch.pi + phase[:, 2]
    if name == "striped":
        return torch.sigmoid(4 * torch.sin(along))
    if name == "dotted":
        return torch.sigmoid(5 * (torch.sin(along) + torch.sin(across) - 0.6))
    if name == "checked":
        return torch.sigmoid(6 * torch.sin(along * 0.5) * torch.sin(across * 0.5))
    if name == "cloudy":
        return _clouds(count, size, generator)
    if name == "grainy":
        return torch.rand(count, size, size, generator=generator)
    if name == "speckled":
        return _speckles(frequency * 1.8, size, generator)
    if name == "pebbled":
        return _pebbles(x, y, frequency, generator)
    if name == "wavy":
        return torch.sigmoid(3 * torch.sin(along + 5 * _clouds(count, size, generator)))
    return torch.sigmoid(
        5 * ((x - 0.5) * torch.cos(angle) + (y - 0.5) * torch.sin(angle)) + torch.sin(phase[:, 1])
    )  # graded


def _grounds(scene: SceneParameters, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    phase = torch.from_numpy(scene.ground_phase)[:, :, None, None]
    count, size = len(phase), x.shape[-1]
    share = torch.zeros(count, size, size)
    for kind, name in enumerate(GROUNDS):
        chosen = torch.from_numpy(np.flatnonzero(scene.ground == kind))
        if name != "plain" and len(chosen):
            frequency = torch.from_numpy(scene.ground_frequency)[chosen, None, None]
            amplitude = {"grainy": 0.35, "speckled": 0.7}.get(name, 1.0)
            share[chosen] = amplitude * _pattern(TEXTURES.index(name), x, y, phase[chosen], frequency, generator)
    first = torch.from_numpy(scene.ground_colour)[:, :, None, None]
    second = torch.from_numpy(scene.ground_second_colour)[:, :, None, None]
    return first + share[:, None] * (second - first)


def render_scenes(scene: SceneParameters, image_size: int, generator: torch.Generator) -> torch.Tensor:
    """Render N scenes back to front.

    Returns:
        (N, 3, image_size, image_size) uint8 in [0, 255].
    """
    axis = (torch.arange(image_size) + 0.5) / image_size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = x[None], y[None]
    images = _grounds(scene, x, y, generator)
    for slot in range(int(scene.count.max(initial=0))):
        present = scene.count > slot
        for shape in range(len(SHAPES)):
            numbers = np.flatnonzero(present & (scene.shape[:, slot] == shape))
            if not len(numbers):
                continue
            take = {name: torch.from_numpy(getattr(scene, name)[numbers, slot]) for name in OBJECT_FIELDS}
            angle = take["angle"][:, None, None]
            dx, dy = x - take["centre"][:, 0, None, None], y - take["centre"][:, 1, None, None]
            phase = take["phase"][:, :, None, None]
            u = (dx * torch.cos(angle) + dy * torch.sin(angle)) / take["radii"][:, 0, None, None]
            v = (-dx * torch.sin(angle) + dy * torch.cos(angle)) / take["radii"][:, 1, None, None]
            distance = _distance(shape, u, v, phase) * take["radii"].abs().amin(1)[:, None, None]
            cover = torch.sigmoid(-distance / take["edge"][:, None, None])
            if SHAPES[shape] == "spot":
                cover = torch.exp(-1.4 * (u.square() + v.square()))
            cover = cover * take["opacity"][:, None, None]
            share = torch.zeros_like(cover)
            for texture in range(1, len(TEXTURES)):
                textured = (take["texture"] == texture).nonzero()[:, 0]
                if len(textured):
                    frequency = take["frequency"][textured, None, None]
                    share[textured] = _pattern(texture, x, y, phase[textured], frequency, generator)
            first, second = take["colour"][:, :, None, None], take["second_colour"][:, :, None, None]
            colour = first + share[:, None] * (second - first)
            rim = take["rim"][:, None, None]
            in_rim = torch.sigmoid((distance + rim) / take["edge"][:, None, None]) * (rim > 0)
            colour = colour + in_rim[:, None] * (take["rim_colour"][:, :, None, None] - colour)
            index = torch.from_numpy(numbers)
            images[index] += cover[:, None] * (colour - images[index])
    right, bottom, border = torch.from_numpy(scene.ground_shading).T[:, :, None, None]
    shading = 1 + right * (x - 0.5) + bottom * (y - 0.5) + border * ((x - 0.5).square() + (y - 0.5).square())
    images = images * shading[:, None].clamp(0.2, 1.8)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
