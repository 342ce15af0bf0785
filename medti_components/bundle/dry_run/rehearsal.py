# SPDX-License-Identifier: Apache-2.0
"""A few iterations of a config's own engines, on images of noise, to know what all of them will take."""

import copy
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from torch import Tensor
from torch.utils.data import Dataset

from medti_components.bundle.keys import engines, is_target, reached
from medti_components.data.prepared_images import PreparedImages, unprepared
from medti_components.random_streams import random_stream


@dataclass(frozen=True)
class Work:
    """Something that a run does many times.

    Args:
        name: what it is.
        number: how often.
        seconds: of one; None where it was not timed.

    >>> Work("training steps", 100, 0.5).total
    50.0
    """

    name: str
    number: int
    seconds: float | None = None

    @property
    def total(self) -> float:
        """Seconds of all, 0 where it was not timed."""
        return self.number * (self.seconds or 0.0)


def duration(seconds: float) -> str:
    """Return a time in a fitting unit.

    >>> [duration(seconds) for seconds in (0.0123, 4.56, 65, 7260, 200_000)]
    ['12 ms', '4.6 s', '1 min 5 s', '2 h 1 min', '2 d 7 h']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole} s"


ABOUT_THE_CASE = ("concept", "label", "patient_id", "study_id")


class MadeUpImages(Dataset[dict[str, Any]]):
    """Items like those of ``PreparedImages``, with one image of noise for all: float32 (3, size, size) in [-1, 1].

    Args:
        datalist: entries with concept, label, patient_id, study_id.
        image_size: height and width in pixels.
        most: entries of each concept that are taken; None takes all.

    >>> images = MadeUpImages([{"concept": "<a>", "label": 0}] * 5, image_size=8, most=2)
    >>> len(images), images[0]["concept"], tuple(images[0]["image"].shape)
    (2, '<a>', (3, 8, 8))
    """

    def __init__(self, datalist: Sequence[Mapping[str, Any]], image_size: int, most: int | None = None) -> None:
        taken: dict[Any, int] = {}
        self._entries: list[dict[str, Any]] = []
        for entry in datalist:
            concept = entry.get("concept")
            taken[concept] = taken.get(concept, 0) + 1
            if most is None or taken[concept] <= most:
                self._entries.append({key: entry[key] for key in ABOUT_THE_CASE if key in entry})
        size = (3, image_size, image_size)
        self._image: Tensor = torch.rand(size, generator=random_stream(0, "made-up image")) * 2 - 1

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._entries[index], "image": self._image}


MADE_UP = f"{MadeUpImages.__module__}.{MadeUpImages.__qualname__}"
NUM_ITERATIONS = 6  # of which the first is warming up
PATIENCE = 20.0  # seconds after which no further iteration is begun
NUM_PREPARED = 3
NUM_ENCODED = 8  # images of each concept
FEW_STEPS = (4, 8)  # of a scheduler: what lies between is the steps' own time
SMALL = {"show_progress": False, "num_scenes": 256, "caption_lengths": []}


class Rehearsal:
    """Times the work of a run and leaves no files.

    Of a trainer's handlers only validation and previews are timed. Prepared images are noise, and samplers take a few
    steps. Their images go to a folder that is removed.

    Args:
        config: the content that is run, with a path as ``bundle_root``.
        run_id: the run id.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str) -> None:
        self.config = copy.deepcopy(dict(config))
        self.real = ConfigParser(copy.deepcopy(self.config))
        self.objects: dict[str, Any] = {}
        self.reached = reached(self.config, run_id)
        self.engines = engines(self.config, run_id)
        self.config |= {key: value for key, value in SMALL.items() if key in self.config}
        self.loading = time.process_time()  # so far: Python and what it imports
        self.is_inversion = any(is_target(content, "TextualInversion") for content in self.reached.values())
        size = "@classifier_image_size" if "classifier_image_size" in self.config else "@image_size"
        for name, content in self.reached.items():
            if is_target(content, "PreparedImages"):
                most = NUM_ENCODED if self.is_inversion else None
                made_up = {"_target_": MADE_UP, "datalist": content["datalist"], "image_size": size, "most": most}
                self._set(name, made_up | {key: content[key] for key in ("_disabled_",) if key in content})

    def works(self) -> list[Work]:
        """Run the few iterations, and return the work of the whole run."""
        with _quiet(), tempfile.TemporaryDirectory(prefix="medti_dry_run_") as folder:
            if "output_dir" in self.config:
                self.config["output_dir"] = folder
            works = [work for name in self.engines for work in self._works_of(name)]
            return [Work("starting and loading", 1, self.loading), *self._preparing(), *works]

    def _preparing(self) -> Iterator[Work]:
        """Yield the images that are not in ``cache_dir`` yet, by a few that are prepared in memory."""
        settings: dict[str, Any] = {}
        missing: dict[str, Any] = {}
        for name, content in self.reached.items():
            if is_target(content, "PreparedImages") and (datalist := self._value(f"{name}::datalist")):
                settings = {key: self._value(f"{name}::{key}") for key in ("transform", "skip_unreadable")}
                found = unprepared(datalist, settings["transform"], self._value(f"{name}::cache_dir"))
                missing |= {repr(entry): entry for entry in found}
        if missing:
            few = [*missing.values()][:NUM_PREPARED]
            seconds, _ = _timed(lambda: PreparedImages(few, cache_dir=None, show_progress=False, **settings))
            yield Work("images prepared", len(missing), seconds / len(few))

    def _works_of(self, name: str) -> Iterator[Work]:
        content = self.reached[name]
        if is_target(content, "SupervisedTrainer"):
            yield from self._training(name)
        elif any(is_target(part, "PromptInferer") for part in self.reached.values()):
            yield from self._sampling(name)
        else:
            yield self._classifying(name)

    def _training(self, name: str) -> Iterator[Work]:
        number = self._value(f"{name}::max_epochs") * self._epoch_length(name)
        if number == 0:
            return
        self._set(f"{name}::train_handlers", [])
        self._set(f"{name}::max_epochs", 1)
        self._set(f"{name}::epoch_length", NUM_ITERATIONS)
        if "scenes" in self.reached and "scenes" not in self.objects:
            seconds = self._keep("scenes")
            yield Work("scenes drawn", self._value("num_scenes"), seconds / len(self.objects["scenes"]))
        parser = self._parser()
        for place in [place for place, part in self.reached.items() if is_target(part, "SceneWords")]:
            seconds, scenes = _timed(partial(parser.get_parsed_content, place))
            yield Work("scenes drawn", self._value(f"{place}::num_scenes"), seconds / len(scenes))
        if self.is_inversion:
            self._load(parser, "network_def")
            seconds, latents = _timed(lambda: parser.get_parsed_content("train::latents"))
            num_encoded = sum(latents.num_cases(token) for token in latents.concepts)
            num_images = sum(len(self._value(f"{split}::datalist")) for split in ("train", "validate"))
            yield Work("images encoded", num_images, seconds / num_encoded)
        yield Work(f"steps of {name}", number, _seconds_of_iteration(self._load(parser, name)))
        yield from self._watching(parser, number) if self.is_inversion else self._validating(parser, name, number)

    def _validating(self, parser: ConfigParser, name: str, num_steps: int) -> Iterator[Work]:
        """Yield a classifier's validation."""
        section = name.rpartition("::")[0]
        for place, part in self.reached.items():
            if not place.startswith(f"{section}::handlers::"):
                continue
            if is_target(part, "BestClassifierSaver"):
                interval, evaluator = self._value(f"{place}::interval"), part["evaluator"]
                number = (num_steps // interval if interval else 0) + 1
            elif is_target(part, "ValidationHandler"):
                number = self._value(f"{name}::max_epochs") // self._value(f"{place}::interval")
                evaluator = part["validator"]
            else:
                continue
            engine = parser.get_parsed_content(evaluator.removeprefix("@"))
            yield Work("batches of validation", number * len(engine.data_loader), _seconds_of_iteration(engine))

    def _watching(self, parser: ConfigParser, num_steps: int) -> Iterator[Work]:
        """Yield what textual inversion does at intervals: held-out losses, and preview pictures."""
        interval, num_held_out = self.real["validation_interval"], len(self._value("validate::datalist"))
        if interval and num_held_out:
            evaluator = parser.get_parsed_content("validate::evaluator")
            few = len(parser.get_parsed_content("validate::dataset"))
            seconds, _ = _timed(evaluator.run)
            number = num_steps // interval + 3  # of the initial rows and the empty prompt, and of the last rows
            yield Work("held-out losses", number, seconds * num_held_out / few)
        interval = self.real["preview_interval"]
        place = next((place for place, part in self.reached.items() if is_target(part, "PreviewSaver")), None)
        if interval and place is not None:
            model, network = (parser.get_parsed_content(key) for key in ("network_def", "concept_embeddings"))
            condition = model.condition_from_rows(next(iter(network)).rows.detach())
            unconditional = model.condition_from_prompt("", {})
            seeds = [*range(self.reached[place]["num_images"])]
            steps = self.reached[place]["sampler"]["num_inference_steps"]

            def paint(few: int) -> float:
                sampler = parser.get_parsed_content(f"{place}::sampler")
                sampler.num_inference_steps = few
                return _timed(lambda: model.decode(sampler(model, condition, unconditional, seeds)))[0]

            number = math.ceil(num_steps / interval) * len(network)
            yield Work("preview pictures", number, _whole(paint, steps))

    def _sampling(self, name: str) -> Iterator[Work]:
        loader = str(self.reached[f"{name}::val_data_loader"])
        self._set(f"{name}::val_data_loader", f"$[next(iter({loader}))]")
        self.loading += self._keep("network_def")
        parser = self._parser()

        def draw(few: int) -> float:
            nonlocal parser
            self.config["num_inference_steps"] = few
            parser = self._parser()
            return _timed(parser.get_parsed_content(name).run)[0]

        seconds = _whole(draw, self._value("num_inference_steps"))
        yield Work("batches of images", len(parser.get_parsed_content(loader.removeprefix("@"))), seconds)

    def _classifying(self, name: str) -> Work:
        self._set(f"{name}::val_handlers", [])
        evaluator = self._load(self._parser(), name)
        return Work("batches of images", len(evaluator.data_loader), _seconds_of_iteration(evaluator))

    def _epoch_length(self, name: str) -> int:
        if f"{name}::epoch_length" in self.reached:
            return int(self._value(f"{name}::epoch_length"))
        loader = str(self.reached[f"{name}::train_data_loader"]).removeprefix("@")
        section = loader.rpartition("::")[0]
        if f"{section}::datalist" in self.reached:
            num_images = len(self._value(f"{section}::datalist"))
        else:
            num_images = self._value(f"{section}::dataset::num_scenes")
        return math.ceil(num_images / self._value(f"{loader}::batch_size"))

    def _value(self, name: str) -> Any:
        return self.real.get_parsed_content(name)

    def _load(self, parser: ConfigParser, name: str) -> Any:
        """Return what a key stands for, and count the seconds that it took to make."""
        seconds, content = _timed(lambda: parser.get_parsed_content(name))
        self.loading += seconds
        return content

    def _keep(self, name: str) -> float:
        """Make what a key stands for once, for all parsers from here on, and return the seconds."""
        parser = self._parser()
        seconds, self.objects[name] = _timed(lambda: parser.get_parsed_content(name))
        self.config[name] = f"$kept_{name}"
        return seconds

    def _parser(self) -> ConfigParser:
        """Return a parser of the config for the rehearsal."""
        kept = {f"kept_{name}": value for name, value in self.objects.items()}
        return ConfigParser(copy.deepcopy(self.config), globals=kept)

    def _set(self, name: str, value: Any) -> None:
        parser = ConfigParser(self.config)
        parser[name] = value
        self.config = parser.get()


def _seconds_of_iteration(engine: Engine) -> float:
    """Run a few iterations, until patience ends, and return the median time from one to the next."""
    ends: list[float] = []
    started = time.perf_counter()

    def note(engine: Engine) -> None:
        ends.append(time.perf_counter())
        if ends[-1] - started > PATIENCE or len(ends) == NUM_ITERATIONS:
            engine.terminate()

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    engine.run()
    between = sorted(end - start for start, end in zip(ends, ends[1:], strict=False))
    return between[len(between) // 2] if between else ends[0] - started


def _whole(run: Callable[[int], float], steps: int) -> float:
    """Return the seconds of a sampling of ``steps`` steps, from two with a few, after one to warm up."""
    if steps <= FEW_STEPS[1]:
        run(steps)
        return run(steps)
    run(FEW_STEPS[0])
    first, second = (run(few) for few in FEW_STEPS)
    return first + max(second - first, 0.0) / (FEW_STEPS[1] - FEW_STEPS[0]) * (steps - FEW_STEPS[0])


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep engines from announcing the few iterations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
