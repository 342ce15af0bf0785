# SPDX-License-Identifier: Apache-2.0
"""Events by which training's handlers reach each other without knowing each other.

They are the trainer's ``event_names`` in the config.
"""

LOSSES_WANTED = "losses_wanted"
"""The losses of the steps so far are to be looked at now."""

CHECKPOINT_WANTED = "checkpoint_wanted"
"""A checkpoint is to be saved now."""

RUN_CLOSING = "run_closing"
"""The run ends, well or not: what is open is to be closed."""

TRAINING_EVENTS = (LOSSES_WANTED, CHECKPOINT_WANTED, RUN_CLOSING)
