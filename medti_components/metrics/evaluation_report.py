# SPDX-License-Identifier: Apache-2.0
"""Figures and pictures of an evaluation in one HTML file that needs nothing else."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve
from torch.utils.data import Dataset

from medti_components.metrics.classified_images import ClassifiedImages
from medti_components.metrics.interval_estimate import IntervalEstimate

Images = Dataset[dict[str, Any]]

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid #ccc; padding: .3em .8em; text-align: left; }
figure { margin: 1em 0; } img { max-width: 100%; } figcaption { color: #555; }
""".strip()

_WORDS = {
    "real": "held-out real images",
    "generated": "generated images",
    "initial rows": "images from the initial rows, before training",
    "more real": "other real images",
    "ratio to initial rows": "generated / initial rows",
}


class EvaluationReport:
    """Render an evaluation as HTML: tables with n and interval, ROC curves, and generated beside real images.

    Args:
        concepts: tokens of the negative and the positive concept, in this order.
        channel_names: what the image channels hold, top row first.
        num_pictures: images of each kind and concept.
    """

    def __init__(self, concepts: Sequence[str], channel_names: Sequence[str], num_pictures: int = 8) -> None:
        self.concepts = list(concepts)
        self.channel_names = list(channel_names)
        self.num_pictures = num_pictures

    def render(
        self,
        metrics: Mapping[str, Any],
        seen: Mapping[str, ClassifiedImages],
        sets: Mapping[str, Images],
        settings: Mapping[str, Any],
    ) -> str:
        """Return the page.

        Args:
            metrics: "auc" by set, "kid" by concept and set, as ``IntervalEstimate``.
            seen: the sets as the classifier saw them.
            sets: the images themselves, items with "image" (3, H, W) in [-1, 1] and "concept".
            settings: shown as they are.
        """
        parts = [
            "<h1>Generated images beside real ones</h1>",
            "<p>Synthetic images, for research. Not for diagnosis.</p>",
            "<h2>Is the finding seen?</h2>",
            "<p>A classifier trained on other real images scores each image. Area under the ROC curve of "
            f"{escape(self.concepts[1])} against {escape(self.concepts[0])}; 0.5 is chance, 1 is perfect.</p>",
            _table([(_WORDS[name], figure) for name, figure in metrics["auc"].items()], "AUC"),
            _figure(_roc_png(seen, self.concepts), "ROC curves", "ROC curves of the classifier"),
            "<h2>How far are generated from real images?</h2>",
            "<p>Kernel inception distance (KID) to held-out real images on the classifier's features: zero for equal "
            "distributions. Other real images at their own n show what is reachable.</p>",
        ]
        for concept, figures in metrics["kid"].items():
            parts += [
                f"<h3>{escape(concept)}</h3>",
                _table([(_WORDS[name], figure) for name, figure in figures.items()], "KID"),
            ]
        parts.append(
            f"<h2>Pictures</h2><p>Rows: {escape(', '.join(self.channel_names))}. The first images, unselected.</p>"
        )
        for concept in self.concepts:
            for name, images in sets.items():
                if name != "more real":
                    caption = f"{concept}: {_WORDS[name]}"
                    parts.append(_figure(self._pictures_png(images, concept), caption, caption))
        parts += ["<h2>Settings</h2>", _settings_table(settings)]
        body = "\n".join(parts)
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>Generated images beside real ones</title><style>{_STYLE}</style></head>\n"
            f"<body>\n{body}\n</body></html>\n"
        )

    def _pictures_png(self, images: Images, concept: str) -> bytes:
        """The first images of a concept: a column an image, a row a channel, in grey."""
        columns: list[torch.Tensor] = []
        for index in range(len(images)):  # type: ignore[arg-type]
            item = images[index]
            if item["concept"] == concept:
                columns.append(torch.cat(list(item["image"][: len(self.channel_names)]), dim=0))
            if len(columns) == self.num_pictures:
                break
        grey = ((torch.cat(columns, dim=1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        scale = max(1, 128 // columns[0].shape[1])
        picture = Image.fromarray(np.kron(grey, np.ones((scale, scale), dtype=np.uint8)))
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        return buffer.getvalue()


def _roc_png(seen: Mapping[str, ClassifiedImages], concepts: Sequence[str]) -> bytes:
    figure = Figure(figsize=(5, 6), layout="constrained")
    axes = figure.subplots()
    for name, images in seen.items():
        truth = [concept == concepts[1] for concept in images.concepts]
        false_positive, true_positive, _ = roc_curve(truth, images.log_odds.numpy())
        axes.plot(false_positive, true_positive, label=_WORDS[name])
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    figure.legend(loc="outside lower center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _figure(png: bytes, caption: str, alternative: str) -> str:
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(rows: Sequence[tuple[str, IntervalEstimate | None]], heading: str) -> str:
    cells = [f"<tr><th>images</th><th>{heading}</th><th>n</th><th>interval</th></tr>"]
    for name, figure in rows:
        if figure is None:
            cells.append(f"<tr><td>{escape(name)}</td><td>undetermined</td><td></td><td></td></tr>")
            continue
        counts = ", ".join(f"{count} {group}" for group, count in figure.counts.items())
        cells.append(
            f"<tr><td>{escape(name)}</td><td>{escape(str(figure))}</td><td>{escape(counts)}</td>"
            f"<td>{figure.confidence:.0%}, {escape(figure.method)}</td></tr>"
        )
    return f"<table>{''.join(cells)}</table>"


def _settings_table(settings: Mapping[str, Any]) -> str:
    rows = (f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in settings.items())
    return f"<table>{''.join(rows)}</table>"
