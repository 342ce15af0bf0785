# SPDX-License-Identifier: Apache-2.0
"""The page ``README.md`` of a repository on the hub: its YAML front matter, and what is below."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from medti_components.apps.bundle_checks.bundle import Bundle
from medti_components.apps.bundle_package.evaluation_summary import EvaluationSummary
from medti_components.apps.bundle_package.model_card import copies_text, figures_text, words_table
from medti_components.networks.embedding_files.embedding_file import EmbeddingFile

LICENCES = {"apache-2.0": "Apache License", "mit": "MIT License"}  # the hub's name, and what the text says
COMMON_LICENCE = re.compile(r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-\d\.\d|apache-2\.0|mit")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
RELATIVE_LINK = re.compile(r"\]\((?!\w+:|#|/)")


def bundle_card(bundle: Bundle, licence: str) -> str:
    """Return the page of a packaged bundle: its model card, ``docs/README.md``, under what the hub reads."""
    config = bundle.configs["inference.json"]
    text = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    is_classifier = "classifier" in config
    words = ["textual-inversion"] if "embeddings" in config else []
    facts = ModelCardData(
        **_licence(licence or _licence_of(bundle.folder / "LICENSE"), "LICENSE"),
        library_name="monai",
        pipeline_tag="image-classification" if is_classifier else "text-to-image",
        tags=["monai", "medical", *words, *(() if is_classifier else ["synthetic"])],
        **_base_model(str(config.get("base_model", ""))),
    )
    return _page(facts, RELATIVE_LINK.sub("](docs/", text))


def words_card(repo_id: str, words: Sequence[EmbeddingFile], evaluation: EvaluationSummary | None, licence: str) -> str:
    """Return the page of a repository that holds learned words alone."""
    terms = {word.metadata.get("data_license", "unknown") for word in words}
    learned_on = {word.metadata.get("base_model", "") for word in words}
    base_model = learned_on.pop() if len(learned_on) == 1 else ""
    shown = base_model if HUB_ID.fullmatch(base_model) else "<the base model>"
    facts = ModelCardData(
        **_licence(licence or (terms.pop() if len(terms) == 1 else "several")),
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=["medical", "textual-inversion", "synthetic"],
        **_base_model(base_model),
    )
    first = words[0]
    text = f"""# {repo_id.partition("/")[2]}

Words that a frozen latent diffusion model learned from medical images by textual inversion, each a safetensors file of
one tensor, whose key is the word. What they draw is synthetic.

## Model overview

{words_table(words)}

## Data

The images that the words were learned from are not in this repository; their terms are in the table.

## Use

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("{shown}")
pipe.load_textual_inversion("{repo_id}", weight_name="{first.path.name}", token="{first.token}")
pipe("{first.token}").images[0].save("image.png")
```

A word is worth something only with the base model that it was learned on.

## Performance

{figures_text(evaluation)}

### Copies of training images

{copies_text(evaluation)}

## Limits

Research and teaching. Not for diagnosis.
"""
    return _page(facts, text)


def _page(facts: ModelCardData, text: str) -> str:
    return f"---\n{facts.to_yaml()}\n---\n\n{text}"


def _licence_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return next((name for name, title in LICENCES.items() if title in text), "unknown")


def _licence(terms: str, file: str = "") -> dict[str, Any]:
    """Return a licence as the hub takes it: by a name that it knows, or as another, with that one's name.

    >>> _licence("CC BY-NC 4.0")
    {'license': 'cc-by-nc-4.0'}
    >>> _licence("terms of the hospital")
    {'license': 'other', 'license_name': 'terms-of-the-hospital'}
    """
    name = re.sub(r"[^\w.]+", "-", terms.lower()).strip("-")
    if COMMON_LICENCE.fullmatch(name):
        return {"license": name}
    return {"license": "other", "license_name": name} | ({"license_link": file} if file else {})


def _base_model(name: str) -> Mapping[str, Any]:
    """Return what the hub links to; nothing for a base model that is not on it."""
    return {"base_model": name, "base_model_relation": "adapter"} if HUB_ID.fullmatch(name) else {}
