# SPDX-License-Identifier: Apache-2.0
"""Processor time until a command of the command line answers, beside what its packages take to import.

python benchmarks/start_time.py --num_runs 5
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from result_table import show_table
from safetensors.numpy import save_file

TRAIN = Path(__file__).parents[1] / "bundles" / "prostate_mri_textual_inversion" / "configs" / "train.json"


def processor_seconds(arguments: list[str]) -> float:
    """Run Python with ``arguments`` in a process of its own, and return its user and system time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print a table: a command per row, with the median and the range of its runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        word = str(Path(folder) / "word.safetensors")
        save_file({"<word>": np.ones((64, 1024), dtype=np.float32)}, word)
        misspelt = ["run", "training", "--config_file", str(TRAIN), "--max_step", "3"]
        commands = {
            "`import torch`": ["-c", "import torch"],
            "`import monai.bundle`": ["-c", "import monai.bundle"],
            "`medti --help`": ["-m", "medti_components", "--help"],
            "`medti validate --help`": ["-m", "medti_components", "validate", "--help"],
            "`medti reproduce --help`": ["-m", "medti_components", "reproduce", "--help"],
            "`medti embedding inspect`": ["-m", "medti_components", "embedding", "inspect", word],
            "`python -m monai.bundle run` with a misspelt key": ["-m", "monai.bundle", *misspelt],
        }
        rows = []
        for name, arguments in commands.items():
            times = [processor_seconds(arguments) for _ in range(options.num_runs)]
            rows.append((name, f"{statistics.median(times):.2f}", f"{min(times):.2f} to {max(times):.2f}"))
    show_table(("command", "processor seconds", "range"), rows)


if __name__ == "__main__":
    main()
