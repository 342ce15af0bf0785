# SPDX-License-Identifier: Apache-2.0
"""What every config of a bundle runs first: find the bundle, check what the user set, make errors readable.

In a config::

    "bundle_root": {"_target_": "medti_components.bundle.run.bundle_root"},
    "initialize": [{"_target_": "medti_components.bundle.run.initialize"}, ...]
"""

import inspect
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.utils import ensure_tuple

from medti_components.bundle.error_line import install_error_line, nearest, tell
from medti_components.bundle.keys import (
    check_key,
    check_overlay,
    check_section,
    entries,
    fit_replaced_targets,
    is_target,
)
from medti_components.bundle.schema import ConfigSchema, kinds
from medti_components.bundle.values import fitting_value, typed_values
from medti_components.errors import ConfigError

logger = logging.getLogger(__name__)

_TRACKING: dict[str, Any] = DEFAULT_MLFLOW_SETTINGS
TRACKING_KEYS = frozenset(_TRACKING["configs"])
"""What MONAI adds to a config for ``tracking``; its federated client adds ``run_name`` without it, too."""
BUNDLE_CONFIGS = ("train.json", "inference.json", "evaluate.json")
RUN_IDS = {
    "training": "learns from a data set",
    "generating": "makes images from prompts",
    "interpolating": "makes images from one word to another",
    "inpainting": "paints into an image",
    "evaluating": "measures all that the config says, and writes a report",
    "comparing": "measures image quality against a folder of pictures, without a data set",
    "classifying": "tells the class of each image",
    "run": "the default, one of these",
}

_bundle_roots: "WeakKeyDictionary[ConfigParser, str]" = WeakKeyDictionary()


def bundle_root() -> str:
    """Return the folder of the bundle whose config is being run, wherever the command was started.

    It is the parent of the ``configs`` folder of the first config file; "." (MONAI's convention: run from the bundle's
    folder) where a config is read without a workflow.

    >>> bundle_root()
    '.'
    """
    workflow = running(ConfigWorkflow)
    if workflow is not None:
        folder = Path(workflow.config_root_path).resolve()
        return str(folder.parent if folder.name == "configs" else folder)
    parser = running(ConfigParser)
    return _bundle_roots.get(parser, ".") if parser is not None else "."


def initialize() -> None:
    """Prepare a run: the first entry of ``initialize`` in every config of a bundle.

    From here on a user's mistake ends in one line on stderr. Every key set on the command line, or as an argument of
    ``monai.bundle.run``, must exist in the config being run. Every key of an overlay must exist in one of the bundle's
    configs, or of those of the bundles beside it, which share the overlays. Values must have the type of the config's
    own, and be allowed by the bundle's ``docs/keys.schema.json``. Text is taken as it was typed. ``--dry_run true``
    shows what the run would do, and ends it.

    Raises:
        ConfigError: a key, run id or value does not fit.
    """
    install_error_line()
    _check_processes()
    workflow = running(ConfigWorkflow)
    if workflow is None:
        return
    _bundle_roots[workflow.parser] = bundle_root()
    folder = Path(workflow.config_root_path)
    own = {name: ConfigParser.load_config_file(folder / name) for name in BUNDLE_CONFIGS if (folder / name).is_file()}
    call = _creating_call()
    if call is None:  # ConfigWorkflow made by hand: it does not say what was overridden
        _check_run_id(workflow, own)
        _check_tracking(workflow.parser.get())
        content = {key: value for key, value in workflow.parser.get().items() if key not in TRACKING_KEYS}
        check_overlay("the workflow", content, own or {"config": content})
        return
    files, arguments = call
    _check_order(files)
    base = ConfigParser.load_config_file(files[0])
    configs = {Path(files[0]).name: base, **own}
    for file in files[1:]:
        check_overlay(Path(file).name, ConfigParser.load_config_file(file), {**configs, **configs_beside(folder)})
    typed = typed_values(sys.argv[1:]) if _is_command_line() else {}
    schema = ConfigSchema(folder.resolve().parent)
    _check_overrides(workflow.parser, _overrides(arguments), base, own, typed, schema.keys(files[0]))
    schema.check(files[0], workflow.parser.get())
    for dropped in fit_replaced_targets(workflow.parser, base):
        logger.warning("%s is left out: what was set as its section's _target_ does not take it", dropped)
    _check_run_id(workflow, own)
    _check_tracking(workflow.parser.get())
    if workflow.parser.get().get("dry_run") is True:
        _end_with_report(workflow, base)


def _check_processes() -> None:
    """Check that this is the only process: several would do the same work, and write to one folder."""
    number = os.environ.get("WORLD_SIZE", "1")
    if number != "1":
        raise ConfigError(
            f"a run takes one process and one GPU, but {number} processes were started (WORLD_SIZE): start it by "
            "python -m monai.bundle run, without torchrun"
        )


def _check_order(files: Sequence[str]) -> None:
    """Check that a bundle's config comes first: MONAI merges later files over earlier ones."""
    is_bundles = ["initialize" in ConfigParser.load_config_file(file) for file in files]
    if not is_bundles[0] and any(is_bundles):
        first = files[is_bundles.index(True)]
        ordered = [first, *(file for file in files if file != first)]
        raise ConfigError(
            f"config_file must name the bundle's config first and overlays after it, got '{files[0]}' first: "
            f'write --config_file "{ordered}"'
        )


def _check_tracking(config: Mapping[str, Any]) -> None:
    """Check that what ``--tracking mlflow`` adds to a config can run."""
    is_tracked = any(is_target(content, "MLFlowHandler") for _, content in entries(config))
    if is_tracked and find_spec("mlflow") is None:
        raise ConfigError(
            "tracking needs the package mlflow, which is not installed: pip install 'medti[tracking]', or leave out "
            "--tracking"
        )


def _end_with_report(workflow: ConfigWorkflow, base: Mapping[str, Any]) -> NoReturn:
    """Show what the run would do, and end the process with status 0 before anything else happens."""
    from medti_components.bundle.dry_run.report import dry_run_report  # here, since all runs import this module

    config = {**workflow.parser.get(), "bundle_root": workflow.parser.get_parsed_content("bundle_root")}
    tell(dry_run_report(config, workflow.run_id, base))
    raise SystemExit(0)


def configs_beside(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the configs of the bundles beside the one whose configs are in ``folder``."""
    paths = [path for name in BUNDLE_CONFIGS for path in folder.resolve().parent.parent.glob(f"*/configs/{name}")]
    return {str(path): ConfigParser.load_config_file(path) for path in paths}


def _check_overrides(
    parser: ConfigParser,
    overrides: Mapping[str, Any],
    base: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]],
    typed: Mapping[str, str],
    described: Mapping[str, Mapping[str, Any]],
) -> None:
    for key, value in overrides.items():
        check_key(key, base, own)
        check_section(key, value, base)
        if key not in base:
            continue
        fitting = fitting_value(key, value, base[key], typed.get(key), kinds(described.get(key, {})))
        if type(fitting) is not type(value) or fitting != value:
            parser[key] = fitting
    for key, text in typed.items():  # MONAI drops an argument that is None
        if text == "None" and key in base:
            parser[key] = None


def _check_run_id(workflow: ConfigWorkflow, own: Mapping[str, Mapping[str, Any]]) -> None:
    if workflow.run_id == "run" and not _is_command_line():
        return
    ids = run_ids(workflow.parser.get())
    if workflow.run_id in ids:
        return
    owners = [name for name, config in own.items() if workflow.run_id in run_ids(config)]
    near = nearest(workflow.run_id, ids)
    remedy = f"it belongs to {' and '.join(owners)}; " if owners else f"did you mean '{near}'? " if near else ""
    meanings = [f"{name} ({RUN_IDS[name]})" if name in RUN_IDS else name for name in ids]
    raise ConfigError(f"unknown run id '{workflow.run_id}': {remedy}this config has {', '.join(meanings)}")


def run_ids(config: Mapping[str, Any]) -> list[str]:
    """Return the run ids of a config: its lists of expressions that are run, and what stands for one.

    >>> run_ids({"train": {"loss": 0}, "initialize": ["$1"], "training": ["$@a.run()"], "run": "%training"})
    ['training', 'run']
    """
    ids: list[str] = []
    for key, value in config.items():
        if key in ("imports", "initialize", "finalize") or key.startswith("_"):
            continue
        is_list = isinstance(value, list) and any(isinstance(step, str) and step.startswith("$") for step in value)
        if is_list or (key == "run" and isinstance(value, str)):
            ids.append(key)
    return ids


def _is_command_line() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == "monai.bundle.__main__"


def _overrides(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``monai.bundle.run`` passes on to the config rather than to MONAI's workflow."""
    own = {*inspect.signature(ConfigWorkflow.__init__).parameters}
    if arguments.get("tracking") is not None:
        own |= TRACKING_KEYS
    return {key: value for key, value in arguments.items() if key not in own}


def _creating_call() -> tuple[tuple[str, ...], Mapping[str, Any]] | None:
    """Return the config files and the other arguments of the ``create_workflow`` call that is being executed."""
    for frame in _frames():
        if frame.f_code is create_workflow.__code__ and {"config_file", "_args"} <= frame.f_locals.keys():
            return tuple(ensure_tuple(frame.f_locals["config_file"])), frame.f_locals["_args"]
    return None


def running(kind: type) -> Any | None:
    """Return the innermost object of class ``kind`` whose method is being executed.

    MONAI gives a config's components neither its workflow nor its parser, so they are found on the stack.
    """
    for frame in _frames():
        if isinstance(owner := frame.f_locals.get("self"), kind):
            return owner
    return None


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
