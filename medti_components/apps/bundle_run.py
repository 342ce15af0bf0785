# SPDX-License-Identifier: Apache-2.0
"""What every config of a bundle runs first: find the bundle, check the keys, make errors readable.

In a config::

    "bundle_root": {"_target_": "medti_components.apps.bundle_run.bundle_root"},
    "initialize": [{"_target_": "medti_components.apps.bundle_run.initialize"}]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from monai.bundle import ConfigParser, ConfigWorkflow

_bundle_roots: "WeakKeyDictionary[ConfigParser, str]" = WeakKeyDictionary()


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _running(kind: type) -> Any | None:
    """Return the innermost object of class ``kind`` whose method is being executed.

    MONAI hands neither its workflow nor its parser to what a config names, so that they are found on the stack.
    """
    for frame in _frames():
        if isinstance(owner := frame.f_locals.get("self"), kind):
            return owner
    return None


def bundle_root() -> str:
    """Return the folder of the bundle whose config is being run, wherever the command was started.

    It is the parent of the ``configs`` folder of the first config file; "." (MONAI's convention: run from the bundle's
    folder) where a config is read without a workflow.

    >>> bundle_root()
    '.'
    """
    workflow = _running(ConfigWorkflow)
    if workflow is not None:
        folder = Path(workflow.config_root_path).resolve()
        return str(folder.parent if folder.name == "configs" else folder)
    parser = _running(ConfigParser)
    return _bundle_roots.get(parser, ".") if parser is not None else "."


def initialize() -> None:
    """Prepare a run; the first entry of ``initialize`` in every config of a bundle."""
    workflow = _running(ConfigWorkflow)
    if workflow is not None:
        _bundle_roots[workflow.parser] = bundle_root()
