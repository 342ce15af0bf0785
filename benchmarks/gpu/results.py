# SPDX-License-Identifier: Apache-2.0
"""The rows of the GPU check, written after each so that a run that is cut off keeps what it found."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medti_components.files import write_text_atomically


class Results:
    """Rows of one script: a check, its value and unit, what is asked and whether it holds.

    Args:
        path: JSON file.
        device: "cuda" or "cpu".
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        name = torch.cuda.get_device_name() if torch.device(device).type == "cuda" else "CPU"
        self.content: dict[str, Any] = {"name": path.stem, "device": name, "torch": torch.__version__, "rows": []}

    def add(self, check: str, value: float | str, unit: str = "", at_most: float | None = None) -> None:
        """Add a row; ``at_most`` is the limit of the value, None where none is stated."""
        passed = None if at_most is None else isinstance(value, (int, float)) and value <= at_most
        row = {"check": check, "value": value, "unit": unit, "limit": at_most, "passed": passed}
        self.content["rows"].append(row)
        print(row, flush=True)
        write_text_atomically(self.path, json.dumps(self.content, indent=2) + "\n")

    def attempt(self, check: str, function: Callable[[], None]) -> None:
        """Call ``function``; where it fails, that is the row, and the next check goes on."""
        try:
            function()
        except (Exception, SystemExit) as error:
            lines = str(error).strip().splitlines() or [""]
            self.content["rows"].append(
                {
                    "check": check,
                    "value": f"{type(error).__name__}: {lines[-1]}",
                    "unit": "",
                    "limit": None,
                    "passed": False,
                }
            )
            print(self.content["rows"][-1], flush=True)
            write_text_atomically(self.path, json.dumps(self.content, indent=2) + "\n")


def as_markdown(folder: Path) -> str:
    """Return one table of all JSON files of ``folder``."""
    lines = ["| script | device | check | value | limit | holds |", "|---|---|---|---|---|---|"]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        for row in content["rows"]:
            value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
            holds = {True: "yes", False: "no", None: ""}[row["passed"]]
            limit = "" if row["limit"] is None else f"{row['limit']:g}"
            cells = (content["name"], content["device"], row["check"], f"{value} {row['unit']}".strip(), limit, holds)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(Path(sys.argv[1])), end="")
