# SPDX-License-Identifier: Apache-2.0
"""Training by MONAI's client of federated learning."""

from pathlib import Path
from typing import Any

import torch
from configs_of_bundles import PROSTATE
from monai.fl.client import MonaiAlgo
from monai.fl.utils.exchange_object import ExchangeObject

from medti_components.engines.run_folder import checkpoint_paths, checkpoint_step


def test_each_round_begins_with_the_weights_it_is_given_and_goes_on_in_the_same_folder(
    training: dict[str, Any],
) -> None:
    keys = {key: str(value) if isinstance(value, Path) else value for key, value in training.items()}
    client = MonaiAlgo(str(PROSTATE.parent), config_evaluate_filename=None, train_kwargs={**keys, "learning_rate": 0.0})
    client.initialize()
    assert client.trainer is not None
    for number in (1, 2):
        given = {name: torch.full_like(rows, number) for name, rows in client.trainer.network.state_dict().items()}
        client.train(ExchangeObject(weights=given))
        assert client.trainer.state.iteration == number
        assert all(torch.equal(rows, given[name]) for name, rows in client.trainer.network.state_dict().items())

    output = training["output_dir"]
    assert [checkpoint_step(path) for path in checkpoint_paths(output / "checkpoints")] == [1, 2]
    assert not (output / "earlier_runs").exists()
