# SPDX-License-Identifier: Apache-2.0
"""The page ``docs/README.md`` of a packed bundle: its contents, their origin, and what an evaluation found."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medti_components.apps.bundle_checks.contents import RUN_IDS
from medti_components.apps.bundle_package.packed_weights import PackedWeights
from medti_components.errors import BundleError
from medti_components.evaluation.verdict import SAFE
from medti_components.networks.embedding_files.embedding_file import EmbeddingFile, printable

METRICS = "metrics.json"
CONTACT_SHEET = "contact_sheet.png"
VERDICTS = {"sharing": "verdict", "quality": "quality_verdict"}
NOT_METRICS = ("settings", "versions", *VERDICTS.values())


@dataclass(frozen=True)
class EvaluationSummary:
    """The metrics of ``metrics.json`` and its verdicts.

    Args:
        metrics: name, value with its interval, and number of images, as texts.
        verdicts: the statements on sharing and on quality, by what they are about.
        is_safe: whether the verdict on sharing is that the words are safe under the thresholds.
        embedding_sha256: hashes of the words that were evaluated, by token.
        contact_sheets: pictures of the generated images that were evaluated, where they are still there.
    """

    metrics: list[tuple[str, str, str]] = field(default_factory=list)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = False
    embedding_sha256: Mapping[str, str] = field(default_factory=dict)
    contact_sheets: Sequence[Path] = ()


def read_evaluation(folder: str | Path) -> EvaluationSummary:
    """Read the ``metrics.json`` that an evaluating run left.

    Raises:
        BundleError: there is none, or it can't be read.
    """
    path = Path(folder) / METRICS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"evaluation '{folder}' has no readable {METRICS} ({error}): give the output_dir of an evaluating run"
        ) from error
    if not isinstance(content, dict):
        raise BundleError(f"'{path}' must hold a JSON object, got {type(content).__name__}: evaluate again")
    try:
        metrics = [row for key, value in content.items() if key not in NOT_METRICS for row in _metrics(value, key)]
        found = {about: content[key] for about, key in VERDICTS.items() if key in content}
        sharing = found.get("sharing", {})
        return EvaluationSummary(
            metrics,
            {about: str(verdict["statement"]) for about, verdict in found.items()},
            sharing.get("verdict") == SAFE,
            sharing.get("embedding_sha256", {}),
            _contact_sheets(content.get("settings", {}).get("generated_dir")),
        )
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise BundleError(f"'{path}' has a metric or verdict that can't be read ({error}): evaluate again") from error


def _contact_sheets(generated_dir: str | None) -> list[Path]:
    folder = Path(generated_dir or "no folder")
    own = folder / CONTACT_SHEET
    return [own] if own.is_file() else sorted(folder.glob(f"*/{CONTACT_SHEET}"))


def shareable_evaluation(
    folder: str, words: Sequence[EmbeddingFile], override_verdict: bool
) -> EvaluationSummary | None:
    """Read an evaluation's ``metrics.json``; return None where no folder is given.

    Args:
        folder: an evaluation's ``output_dir``, or "".
        words: what is to be shared; empty where it is no words.
        override_verdict: go on whatever the verdict on sharing is; the model card says so.

    Raises:
        BundleError: it can't be read or is of other words, or it does not find the words safe to share and this is not
            overridden.
    """
    summary = read_evaluation(folder) if folder else None
    override = "or give --override_verdict true, which the model card states"
    if summary is None:
        if words and not override_verdict:
            raise BundleError(
                f"words are shared where an evaluation found them '{SAFE}': give its output_dir by --evaluation, "
                f"{override}"
            )
        return None
    for word in words:
        evaluated = summary.embedding_sha256.get(word.token)
        if evaluated != word.sha256 and (evaluated is not None or not override_verdict):
            raise BundleError(
                f"'{Path(folder) / METRICS}' is not of '{word.path}' (sha256 {word.sha256[:12]}): evaluate that word, "
                "by --embeddings of the evaluating run" + ("" if evaluated else f", {override}")
            )
    if words and not summary.is_safe and not override_verdict:
        said = summary.verdicts.get("sharing", "nothing about sharing")
        raise BundleError(f"'{Path(folder) / METRICS}' says '{printable(said, 400)}': share other words, {override}")
    return summary


def _metrics(value: Any, name: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, bool) or not isinstance(value, Mapping | int | float):
        return
    if not isinstance(value, Mapping):
        yield _in_words(name), f"{value:.4g}", ""
    elif "value" in value and "interval" in value:
        low, high = value["interval"]
        images = ", ".join(f"{count} {group}" for group, count in value.get("n", {}).items())
        yield _in_words(name), f"{value['value']:.3g} [{low:.3g}, {high:.3g}]", images
    else:
        for key, entry in value.items():
            yield from _metrics(entry, f"{name}, {key}")


WORDS = {
    "auc": "area under the ROC curve",
    "kid": "kernel inception distance",
    "fid": "Frechet inception distance",
    "fid_as_published": "Frechet inception distance as the paper has it",
    "similarity": "likeness of two images (MS-SSIM)",
    "brier": "Brier score",
    "loss": "by the loss under the word",
    "gain": "by the loss that the word saves",
}
UNKNOWN = "unknown"


def _in_words(name: str) -> str:
    """Name a metric in words.

    >>> _in_words("kid, <ill>, generated"), _in_words("num_classifier_training_images")
    ('kernel inception distance, <ill>, generated', 'number of classifier training images')
    """
    parts = [WORDS.get(part, re.sub("^num_", "number of ", part)) for part in name.split(", ")]
    return ", ".join(part if part.startswith("<") else part.replace("_", " ") for part in parts)


KEPT = ("Data", "Keys", "Limits", "Intended use and limits", "References", "License")
ABSENT = (
    r"configs/(?:embedded|bf16|low_memory|fast_sampling|multi_gpu)\.json|\bbundles/|medti_components|\bmake \w+|"
    r"benchmarks/|\boverlays?\b|(?:prostate_mri|chest_xray|histopathology)_textual_inversion|embedded base"
)
OTHER_BASE = r"Stable Diffusion 2|sd2-community|\b512 x 512\b|\b64 x 1024\b"
PATIENTS = r"PI-CAI|CheXpert|ChestX-ray14|Camelyon|\bscanners\b"
RESULTS = {"train.json": "T", "inference.json": "O", "evaluate.json": "E"}
PACKED_ALL_THE_SAME = "Its makers share it all the same, by `--override_verdict true`."
NOT_CHECKED = "Not checked for copies: whether generated images repeat training images is not known."


@dataclass(frozen=True)
class ModelCard:
    """The content of the page.

    Args:
        page: the source bundle's page; its introduction, overview, data, keys, limits, references and licence are kept;
            where its weights are those of the source, also what it says of their performance.
        name: the bundle's name.
        metadata: content of metadata.json.
        configs: the configs by file name, as packed.
        base_model: name of the base model and where it is, or "" where there is none.
        sizes: of its images and text encoder, by what they are; empty where it is not in the archive.
        contact_sheets: names of the pictures beside the page.
        weights: the learned words, the classifier's settings, or the base model's hash.
        evaluation: what is known of the weights; None where they were not evaluated.
    """

    page: str
    name: str
    metadata: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    base_model: str
    sizes: Mapping[str, str]
    contact_sheets: Sequence[str]
    weights: PackedWeights
    evaluation: EvaluationSummary | None

    def text(self) -> str:
        """Return the page as Markdown."""
        introduction, sections = _sections(self._cleaned(self.page))
        sections = {title: text if title == "Keys" else self._present(text) for title, text in sections.items()}
        version = self.metadata["version"]
        news = self.metadata["changelog"][version]
        known = sections.get("Performance", "") if self.weights.base_model_sha256 else ""
        metrics = known or metrics_text(self.evaluation)
        pictures = "\n\n".join(f"![Generated images of the words]({name})" for name in self.contact_sheets)
        parts = [
            self._present(introduction),
            self._present(f"Version {version}. {news[:1].upper()}{news[1:]}."),
            f"## Model overview\n\n{self._contents()}\n\n{sections.get('Model overview', '')}",
            self._data(sections),
            f"## Use\n\n{self._commands()}",
            f"## Performance\n\n{pictures}\n\n{metrics}\n\n### Verdicts\n\n"
            f"{sharing_text(self.evaluation, bool(self.weights.words))}",
            *(self._section(title, sections) for title in KEPT[1:]),
        ]
        return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"

    def _section(self, title: str, sections: Mapping[str, str]) -> str:
        return f"## {title}\n\n{sections[title]}" if title in sections else ""

    def _data(self, sections: Mapping[str, str]) -> str:
        """Return the section on data; of words that phantoms taught it speaks of phantoms alone."""
        if phantoms := self.weights.phantoms:
            _, heading, preprocessing = sections.get("Data", "").partition("### Preprocessing")
            said = f"The words were learned from {phantoms}.\nThese are drawings: no image of a patient was used."
            return f"## Data\n\n{said}\n\n{heading}{preprocessing}"
        return self._section("Data", sections)

    def _cleaned(self, text: str) -> str:
        """Name files as they lie in the archive, and keep only the text of links that lead out of it."""
        text = re.sub(r"\[([^\]]*)\]\((?!\w+:|#)\.\.[^)]*\)", r"\1", text)
        return text.replace(f"bundles/{self.name}/", "")

    def _present(self, text: str) -> str:
        """Return a text without the sentences, list entries, tables and commands on what is not in the archive."""
        patterns = [ABSENT, *([OTHER_BASE] if self.sizes else []), *([PATIENTS] if self.weights.phantoms else [])]
        absent = re.compile("|".join(patterns))
        blocks = []
        for block in re.split(r"\n\n(?=[^\n])", text):
            if absent.search(block):
                is_prose = not re.match(r"\||```|#", block)
                items = re.split(r"\n(?=(?:[-*]|\d+\.) )", block) if is_prose else []
                block = "\n".join(kept for item in items if (kept := _without_sentences(item, absent)))
            blocks += [block] if block else []
        return "\n\n".join(blocks)

    def _contents(self) -> str:
        lines = ["In this archive:"]
        if self.weights.words:
            lines += ["", words_table(self.weights.words)]
        elif self.weights.settings:
            rows = [[key, json.dumps(value)] for key, value in self.weights.settings.items()]
            lines += ["", _table(["the classifier was trained with", ""], rows)]
        if self.base_model:
            lines += ["", f"Base model: {self.base_model}."]
        if self.sizes:
            lines += ["", _table(["of the base model", ""], [[name, size] for name, size in self.sizes.items()])]
        if self.weights.base_model_sha256:
            lines += ["", f"sha256 of its text encoder and denoiser: `{self.weights.base_model_sha256}`."]
        return "\n".join(lines)

    def _commands(self) -> str:
        pins = {
            "monai": self.metadata["monai_version"],
            "torch": self.metadata["pytorch_version"],
            "numpy": self.metadata["numpy_version"],
            **self.metadata["required_packages_version"],
        }
        lines = ["From the archive's folder:", "", "```bash"]
        lines += [f"pip install {' '.join(f'{name}=={number}' for name, number in pins.items())}"]
        for name in sorted(self.configs, key=list(RUN_IDS).index):
            run_id = next((run_id for run_id in RUN_IDS[name] if run_id in self.configs[name]), "run")
            reads_data = name != "inference.json" and "dataset_dir" in self.configs[name]
            options = f"{' --dataset_dir D' if reads_data else ''} --output_dir {RESULTS[name]}"
            lines += [f"python -m monai.bundle run {run_id} --config_file configs/{name}{options}"]
        return "\n".join([*lines, "```"])


def _without_sentences(item: str, absent: re.Pattern[str]) -> str:
    """Return a paragraph or list entry without the sentences on what is absent; a numbered entry goes as a whole."""
    if not absent.search(item):
        return item
    if re.match(r"\d+\.", item):
        return ""
    return " ".join(each for each in re.split(r"(?<=[.:])\s+(?=[A-Z`\[])", item) if not absent.search(each))


def words_table(words: Sequence[EmbeddingFile]) -> str:
    """Return the origin of embeddings as a Markdown table with one column each."""
    facts = [_facts(word) for word in words]
    rows = [[key, *(fact[key] for fact in facts)] for key in facts[0]]
    return _table(["", *(f"`{word.token}`" for word in words)], rows)


def metrics_text(evaluation: EvaluationSummary | None) -> str:
    """Return an evaluation's metrics as Markdown."""
    if evaluation is None:
        return "These weights were not evaluated by those who share them."
    if not evaluation.metrics:
        return "The evaluation has no metrics."
    return _table(["metric", "value [interval]", "images"], [list(row) for row in evaluation.metrics])


def sharing_text(evaluation: EvaluationSummary | None, are_words: bool) -> str:
    """Return what an evaluation concluded.

    >>> print(sharing_text(EvaluationSummary([], {"sharing": "safe under the thresholds: no copy"}, True), True))
    The evaluation's verdict on sharing: "safe under the thresholds: no copy".
    """
    verdicts = {} if evaluation is None else evaluation.verdicts
    lines = [f'The evaluation\'s verdict on {about}: "{_cell(said)}".' for about, said in verdicts.items()]
    if "sharing" not in verdicts:
        lines.append(NOT_CHECKED)
    if are_words and (evaluation is None or not evaluation.is_safe):
        lines.append(f"**{PACKED_ALL_THE_SAME}**")
    return "\n\n".join(lines)


def _facts(word: EmbeddingFile) -> dict[str, str]:
    known = word.metadata
    return {
        "vectors x width": " x ".join(str(size) for size in word.rows.shape),
        "learned on": known.get("base_model", UNKNOWN),
        "its sha256": known.get("base_model_sha256", UNKNOWN),
        "steps": known.get("steps", UNKNOWN),
        "seed": known.get("seed", UNKNOWN),
        "cases": known.get("num_cases", UNKNOWN),
        "data licence": known.get("data_license", UNKNOWN),
        "sha256 of the file": word.sha256,
    }


def _sections(page: str) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, and the sections by their title."""
    before, *rest = re.split(r"^## +(.*)$", page, flags=re.MULTILINE)
    return before.strip(), {title.strip(): text.strip() for title, text in zip(rest[::2], rest[1::2], strict=True)}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return printable(" ".join(text.split()), 1000).replace("|", "\\|")
