# SPDX-License-Identifier: Apache-2.0
"""Which weights are kept, with an evaluator that says what the test wants."""

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import load_file

from medti_components.data.classification.classifier_images import ClassifierImages
from medti_components.engines.training_history import TrainingHistory
from medti_components.handlers.classifier_saver import BestClassifierSaver
from medti_components.handlers.loss_monitor import SERIES
from medti_components.networks.image_classifier import classifier_facts

IMAGE = {"image": torch.zeros(3, 4, 4), "label": 0, "concept": "<a>", "patient_id": "1", "study_id": "1"}


class Evaluator:
    """Gives one AUC after another."""

    def __init__(self, aucs):
        self.aucs = list(aucs)
        self.state = SimpleNamespace(metrics={})

    def run(self):
        self.state.metrics["auc"] = self.aucs.pop(0)


def trained(folder, aucs, num_batches=4, interval=1, history=None):
    """Run a training whose weight is the number of the batch."""
    network = torch.nn.Linear(1, 1)

    def update(engine, batch):
        with torch.no_grad():
            network.weight.fill_(float(engine.state.iteration))

    engine = Engine(update)
    engine.network = network
    history = history or TrainingHistory()
    evaluator = Evaluator(aucs)
    images = ClassifierImages([IMAGE], None)
    BestClassifierSaver(evaluator, history, images, folder, interval, {"size": 4}, {"seed": 0}).attach(engine)
    engine.run(range(num_batches))
    return history, evaluator


def kept(folder):
    return load_file(folder / "classifier.safetensors")["weight"].item()


@pytest.mark.parametrize(
    ("aucs", "best"), [([0.6, 0.8, 0.7, 0.5], 2), ([0.7, 0.7, 0.7, 0.7], 1), ([0.1, 0.2, 0.3, 0.4], 4)]
)
def test_first_of_the_best_is_kept(tmp_path, aucs, best) -> None:
    history, _ = trained(tmp_path, aucs)
    assert kept(tmp_path) == best
    facts = classifier_facts(tmp_path / "classifier.safetensors")
    assert (facts["batches"], facts["validation_auc"], facts["seed"]) == (best, aucs[best - 1], 0)
    assert history.points("validation_auc", SERIES) == [*enumerate(aucs, start=1)]
    lines = (tmp_path / "validation.csv").read_text().splitlines()
    assert lines == ["batch,auc", *(f"{step},{auc}" for step, auc in enumerate(aucs, start=1))]
    assert (tmp_path / "cases.csv").is_file()


def test_last_batch_is_validated_once(tmp_path) -> None:
    _, evaluator = trained(tmp_path, [0.6, 0.7, 0.9], interval=2)  # after 2 and 4
    assert evaluator.aucs == [0.9]
    _, evaluator = trained(tmp_path / "other", [0.6, 0.7, 0.9], interval=3)  # after 3 and 4
    assert evaluator.aucs == [0.9]
    _, evaluator = trained(tmp_path / "end", [0.6, 0.7], interval=0)
    assert evaluator.aucs == [0.7]


def test_weights_that_were_removed_are_written_again(tmp_path) -> None:
    history = TrainingHistory()
    history.add("validation_auc", SERIES, 0, 0.9)  # of a run before; its file is gone
    trained(tmp_path, [0.6, 0.5, 0.4, 0.3], history=history)
    assert (tmp_path / "classifier.safetensors").is_file()
