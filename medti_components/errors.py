# SPDX-License-Identifier: Apache-2.0
"""Typed errors: the command line tells a user's mistake from a defect by them."""


class MedtiError(Exception):
    """A mistake that the user can correct; the message is one line: what is wrong, in which file or key, what to do."""


class ConfigError(MedtiError):
    """A config key is unknown or has a wrong value."""


class DataError(MedtiError):
    """A data set, study or image is missing, unreadable or too small."""


class BaseModelError(MedtiError):
    """The base model can't be found, loaded or used."""


class EmbeddingError(MedtiError):
    """An embedding file or concept token does not fit."""


class BundleError(MedtiError):
    """A folder is no bundle, or its bundle is not valid."""


class PromptError(MedtiError):
    """A prompt can't be read or encoded; the message shows it with a caret under the fault.

    Args:
        message: what is wrong and what to do.
        prompt: the whole prompt.
        position: offset of the fault in it.

    >>> print(PromptError("a part must have a text", "<a> AND ", 8))
    a part must have a text
      <a> AND
              ^
    """

    def __init__(self, message: str, prompt: str, position: int) -> None:
        self.message = message
        self.position = position
        shown = prompt.replace("\n", " ").replace("\t", " ").rstrip()
        super().__init__(f"{message}\n  {shown}\n  {' ' * position}^" if prompt else message)


class OutputError(MedtiError):
    """Results can't be written."""


class TrainingError(MedtiError):
    """Training can't continue, for instance since the loss is not finite."""
