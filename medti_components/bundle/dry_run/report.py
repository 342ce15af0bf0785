# SPDX-License-Identifier: Apache-2.0
"""What ``--dry_run true`` tells: settings, data, work, time and memory."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from monai.bundle import ConfigParser

from medti_components.bundle.dry_run.rehearsal import Rehearsal, Work, duration
from medti_components.bundle.keys import is_target, reached, setting_keys
from medti_components.networks.hub_folder import revision_of

if sys.platform != "win32":
    import resource

GB = 1e9
UNSEEN = ("bundle_root", "dry_run")
HUB_MODELS = {  # keys that name models: key of the revision, a file that is there when the model is
    "base_model": ("base_revision", "unet/config.json"),
    "pretrained_model": ("pretrained_revision", "config.json"),
}


def dry_run_report(config: Mapping[str, Any], run_id: str, own: Mapping[str, Any]) -> str:
    """Return what a run would do, as text. Nothing is written, and no image is prepared.

    Args:
        config: the content that is run, overlays and overrides merged, with a path as ``bundle_root``.
        run_id: the run id.
        own: content of the bundle's config file alone, to mark what differs from it.

    Raises:
        MedtiError: the run itself would raise it for its settings, data or models.
    """
    parser = ConfigParser(dict(config))
    keys = [key for key in setting_keys(config) if key in own and key not in UNSEEN]
    values = {key: parser.get_parsed_content(key) for key in keys}
    parts = [
        f"Dry run of '{run_id}': nothing is written.",
        _table(["settings, * not the config's own", ""], _settings(values, config, own)),
    ]
    counts = [*_counts(parser, reached(config, run_id))]
    if counts:
        columns = sorted({concept for _, count in counts for concept in count})
        rows = [
            [f"  {name}", *(str(count[concept]) for concept in columns), str(count.total())] for name, count in counts
        ]
        parts.append(_table(["images of data sets", *columns, "all"], rows))
    filters = [*_filters(parser, reached(config, run_id))]
    if filters:
        parts.append("\n".join(["cases left by each filter", *filters]))
    missing = [key for key in HUB_MODELS if key in values and not _is_here(values, key)]
    if "architecture" in values and values["architecture"] != "resnet":
        missing = [key for key in missing if key != "pretrained_model"]
    if missing:
        name = values[missing[0]]
        parts.append(
            f"Time and memory: not measured, since {missing[0]} '{name}' is not on this machine; "
            "the first run fetches it."
        )
    else:
        parts += [*_measured(Rehearsal(config, run_id).works(), str(values.get("device", "cpu")))]
    return "\n\n".join(parts)


def _settings(values: Mapping[str, Any], config: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, value in values.items():
        mark = " " if config[key] == own.get(key) else "*"
        is_plain = isinstance(value, str | bool | int | float | list | dict | None)
        text = value if isinstance(value, str) else json.dumps(value, default=str) if is_plain else "computed"
        yield [f"{mark} {key}", text]


def _counts(parser: ConfigParser, parts: Mapping[str, Any]) -> Iterator[tuple[str, "Counter[str]"]]:
    """Yield the name of each datalist that a run reads, and its entries by concept."""
    for name, content in parts.items():
        section, _, last = name.rpartition("::")
        if last != "datalist" or (isinstance(content, str) and content.startswith("@")):
            continue
        datalist = parser.get_parsed_content(name)
        if isinstance(datalist, Sequence):  # a disabled one is None, one made on request a function
            yield section or "cases", Counter(str(entry.get("concept", "")) for entry in datalist)


def _filters(parser: ConfigParser, parts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each concept of a data set that a run reads: how many rows of its table each filter leaves."""
    for name, content in parts.items():
        if is_target(content, "Splits", "RadiographSplits", "ClassifierSplits"):
            yield from (f"  {line}" for line in parser.get_parsed_content(name).counts())


def _is_here(values: Mapping[str, Any], key: str) -> bool:
    """Return whether a model is a folder, or was fetched from the hub before."""
    revision_key, file = HUB_MODELS[key]
    name = values[key]
    if not isinstance(name, str) or Path(name).expanduser().is_dir() or name.count("/") != 1:
        return True  # what is wrong with a name is told where it is loaded
    return isinstance(try_to_load_from_cache(name, file, revision=revision_of(name, values.get(revision_key))), str)


def _measured(works: Sequence[Work], device: str) -> Iterator[str]:
    rows = [[f"  {work.name}", str(work.number), duration(work.seconds or 0.0), duration(work.total)] for work in works]
    yield _table(["work", "number", "each", "together"], rows)
    yield (
        f"Time: about {duration(sum(work.total for work in works))}, from a few of the run's own steps just now on "
        f"'{device}'. Checkpoints, curves, and what an evaluation computes from images and reports are not in it."
    )
    places = []
    if sys.platform != "win32":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        places.append(f"{peak / GB:.1f} GB of main memory")
    if device.startswith("cuda"):
        places.append(f"{torch.cuda.max_memory_reserved(device) / GB:.1f} GB of the GPU's")
    if places:
        yield (
            f"Memory: {', '.join(places)}: the peak of this process, with its packages, the model and steps of the "
            "run's own size; not with all images."
        )


def _table(head: Sequence[str], rows: Iterator[list[str]] | Sequence[list[str]]) -> str:
    """Return aligned columns, numbers to the right but for the second of two.

    >>> print(_table(["work", "number"], [["  a", "10"]]))
    work  number
      a   10
    """
    lines = [list(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = []
    for line in lines:
        first, *others = (
            cell.ljust(width) if column == 0 or len(head) == 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        texts.append("  ".join([first, *others]).rstrip())
    return "\n".join(texts)
