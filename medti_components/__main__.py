# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m medti_components <command>``, also installed as ``medti``."""

import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial, wraps
from pkgutil import resolve_name
from typing import Any, NamedTuple, get_type_hints

import fire
from fire.core import FireExit

import medti_components
from medti_components.bundle.error_line import error_line, nearest, tell
from medti_components.bundle.values import fitting_value, typed_values
from medti_components.errors import ConfigError

Commands = Mapping[str, Any]


class Command(NamedTuple):
    """Where a command is, as ``module:object``, and the first line of its docstring.

    The module is imported when the command is asked for, so that ``medti --help`` answers at once.
    """

    place: str
    summary: str


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "medti_components.apps.demo:demo",
        "Draw phantom studies, learn two words from them, generate pictures of both: offline, on a CPU, in minutes.",
    ),
    "bundles": Command(
        "medti_components.apps.bundles:bundles",
        "List the bundles that come with the software, or copy one to work on.",
    ),
    "phantoms": Command(
        "medti_components.apps.phantoms:Phantoms", "Write phantom studies in the files of a public data set."
    ),
    "embedding": Command(
        "medti_components.apps.embedding:Embedding",
        "Look into embedding files of any tool, import them, export for another tool.",
    ),
    "validate": Command(
        "medti_components.apps.validate:validate",
        "Check a bundle, or all of them: files, metadata, configs, then a step of training and an image.",
    ),
    "key_tables": Command(
        "medti_components.apps.key_tables:key_tables",
        "Write the tables of keys in README.md and bundles/*/docs/README.md anew.",
    ),
    "reproduce": Command(
        "medti_components.apps.reproduce:Reproduce",
        'Reproduce tables and figures of "Medical diffusion on a budget" (MIDL 2024) on one\'s own data.',
    ),
    "package": Command(
        "medti_components.apps.package:package",
        "Write <name>_v<version>.zip, which runs wherever it is unpacked, as MONAI's model zoo takes it.",
    ),
    "push": Command(
        "medti_components.apps.push:push", "Upload a packaged bundle, or learned words, to the Hugging Face hub."
    ),
    "reader_study": Command(
        "medti_components.apps.reader_study:reader_study",
        "Serve a page on which readers judge images without knowing their origin; Ctrl-C stops it and shows the "
        "metrics.",
    ),
}
KIND_EXAMPLES: dict[type, Any] = {bool: False, int: 0, float: 0.0, str: ""}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line without the program's name; that of this process by default.

    Returns:
        The exit status: 0; 1 after a line on stderr about a user's mistake; 130 after an interruption.

    Raises:
        SystemExit: of status 141, when nobody reads the output any more.

    >>> main(["phantom"])
    1
    """
    try:
        call = _parse(list(sys.argv[1:] if arguments is None else arguments))
        result = call()
        for text in result if isinstance(result, Iterator) else (result,):
            if text is not None:
                tell(text)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        line = error_line(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str]) -> Callable[[], Any]:
    """Let Fire read the command line without running it, and return the call to be run, or one that returns the help.

    Fire by itself runs a command before it has read the whole line, and answers a mistake with pages.
    """
    if arguments == ["--version"]:
        return f"medti {medti_components.__version__}".__str__
    calls: list[partial[Any]] = []
    commands: dict[str, Any] = {name: _summarized(command) for name, command in COMMANDS.items()}
    if arguments and arguments[0] in COMMANDS:
        commands[arguments[0]] = _recorded(resolve_name(COMMANDS[arguments[0]].place), calls)
    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            fire.Fire(commands, command=arguments or ["--help"], name="medti")
    except FireExit as exit_:
        if exit_.code != 0:
            raise _usage_error(exit_, calls) from exit_
        calls.clear()
    if not calls:
        return _without_hints(output.getvalue()).rstrip
    return _fitting(calls[-1], typed_values(arguments))


def _without_hints(text: str) -> str:
    """Return Fire's help without what it says of itself.

    >>> _without_hints("INFO: Showing help ...\\n\\nNAME\\n    a\\n\\nNOTES\\n    You can also ...\\n")
    'NAME\\n    a\\n'
    """
    shown = text[text.index("NAME\n") :] if "NAME\n" in text else text
    return shown.partition("\nNOTES\n")[0]


def _fitting(call: partial[Any], typed: Mapping[str, str]) -> Callable[[], Any]:
    """Return ``call`` with its arguments converted to the types that the function asks for."""
    given = inspect.signature(call.func).bind(*call.args, **call.keywords).arguments
    hints = get_type_hints(call.func)
    arguments = {
        name: fitting_value(name, value, KIND_EXAMPLES.get(hints.get(name, object)), typed.get(name))
        for name, value in given.items()
    }
    return partial(call.func, **arguments)


def _summarized(command: Command) -> Callable[[], None]:
    """Return what stands for a command in the list of all."""

    def summarized() -> None:
        return

    summarized.__doc__ = command.summary
    return summarized


def _recorded(command: Callable[..., Any], calls: list[partial[Any]]) -> Commands | Callable[..., None]:
    """Return a function, or a class's public methods by name, that only record a call; ``import_`` is ``import``."""

    def recorded(method: Callable[..., Any]) -> Callable[..., None]:
        @wraps(method)
        def record(*args: Any, **kwargs: Any) -> None:
            calls.append(partial(method, *args, **kwargs))

        return record

    if not inspect.isclass(command):
        return recorded(command)
    methods = inspect.getmembers(command(), inspect.ismethod)
    return {name.removesuffix("_"): recorded(method) for name, method in methods if not name.startswith("_")}


def _usage_error(exit_: FireExit, calls: list[partial[Any]]) -> ConfigError:
    message = exit_.trace.elements[-1].ErrorAsStr()
    reason, _, word = message.rpartition(": ")
    component = exit_.trace.GetResult()
    if calls and reason == "Could not consume arg":
        options = [f"--{name}" for name in inspect.signature(calls[-1].func).parameters]
        if word.startswith("-"):
            return ConfigError(_unknown("option", word, options))
        return ConfigError(f"'{word}' is one value too many: name each value by its option, {', '.join(options)}")
    if isinstance(component, Mapping):
        return ConfigError(_unknown("command", word, [str(name) for name in component]))
    if "required argument" in reason:
        names = [f"--{name.strip()}" for name in word.split(",")]
        return ConfigError(f"{' and '.join(names)} must be given: see medti {' '.join(_given(exit_))} --help")
    return ConfigError(f"{message}: see medti --help")


def _unknown(kind: str, word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f"unknown {kind} '{word}': " + (f"did you mean '{near}'?" if near else f"known are {', '.join(known)}")


def _given(exit_: FireExit) -> list[str]:
    return [word for element in exit_.trace.elements for word in (element.args or ()) if not word.startswith("-")]


if __name__ == "__main__":
    sys.exit(main())
