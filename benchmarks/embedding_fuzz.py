# SPDX-License-Identifier: Apache-2.0
"""Try the readers of embedding files on damaged and hostile ones.

Each file is a valid one of some tool, changed by a seeded mutation, or one made to do harm. Every reader must either
give finite rows or raise ``EmbeddingError`` with one line: no other exception, no crash, no hang, no code run (which
would leave a canary file), no memory out of proportion.

    python benchmarks/embedding_fuzz.py --num_files 20000 --seed 0
"""

import argparse
import faulthandler
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import torch
from embedding_mutations import MUTATIONS, container_of
from embedding_samples import samples
from result_table import show_table

from medti_components.apps.embedding import Embedding
from medti_components.bundle.error_line import error_line
from medti_components.errors import EmbeddingError
from medti_components.networks.embedding_files.embedding_file import load_embedding
from medti_components.networks.embedding_files.foreign_embedding import load_foreign_embedding

FIELDS = ("container", "mutation", "files", "loaded", "refused", "anything else", "slowest ms")
SECONDS_TO_HANG = 30


def read_imported(path: Path) -> torch.Tensor:
    """Read as the command line does, and show what would be shown."""
    rows = load_foreign_embedding(path, allow_pickle=True).rows
    Embedding().inspect(str(path)).encode()
    return rows


def read_for_generation(path: Path) -> torch.Tensor:
    """Read as training and generation do."""
    return load_embedding(path).rows


def outcome(read: Callable[[Path], torch.Tensor], path: Path) -> str:
    """Return 'loaded', 'refused', or what else became of a file."""
    try:
        rows = read(path)
    except EmbeddingError as error:
        line = error_line(error) or ""
        return "refused" if line.isprintable() and len(line) < 2000 else f"message {line!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    is_finite = rows.ndim == 2 and rows.is_floating_point() and bool(torch.isfinite(rows.float()).all())
    return "loaded" if is_finite else f"rows {tuple(rows.shape)} {rows.dtype}"


def valid_files(seed: int) -> dict[str, bytes]:
    """Return small files of every tool, in three precisions, and one of the size that is trained."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.randn(4, 16, generator=generator)
    files = {
        f"{kind}, {dtype}": content
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
        for kind, content in samples(small.to(dtype)).items()
    }
    full = samples(torch.randn(64, 1024, generator=generator))
    return files | {f"{kind}, full size": content for kind, content in full.items() if "slots" not in kind}


def fuzz(num_files: int, seed: int, folder: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return a row of figures for each container and mutation, and what went wrong."""
    random = Random(seed)
    canary = folder / "canary"
    path = folder / "file"
    files: Mapping[str, bytes] = valid_files(seed)
    names = sorted(files)
    counts: dict[tuple[str, str], Counter[str]] = {}
    slowest: dict[tuple[str, str], float] = {}
    wrong: list[str] = []
    for number in range(num_files):
        name = random.choice(names)
        container = container_of(files[name])
        mutation = random.choice(sorted(MUTATIONS[container]))
        path.write_bytes(MUTATIONS[container][mutation](files[name], random, canary))
        for read in (read_imported, read_for_generation):
            faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True, file=sys.__stderr__)
            start = time.perf_counter()
            result = outcome(read, path)
            seconds = time.perf_counter() - start
            faulthandler.cancel_dump_traceback_later()
            if canary.exists():
                result = "code was run"
                canary.unlink()
            key = (container, mutation)
            slowest[key] = max(slowest.get(key, 0.0), seconds)
            if result not in ("loaded", "refused"):
                wrong.append(f"file {number} ({name}, {mutation}) by {read.__name__}: {result}")
                result = "anything else"
            if read is read_imported or result == "anything else":
                counts.setdefault(key, Counter())[result] += 1
    return [
        (*key, str(sum(counted.values())), *(str(counted[field]) for field in FIELDS[3:6]), f"{slowest[key] * 1e3:.0f}")
        for key, counted in sorted(counts.items())
    ], wrong


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the status is 1 when anything but rows and typed errors came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num_files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="CSV file for the figures")
    settings = parser.parse_args(arguments)
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        rows, wrong = fuzz(settings.num_files, settings.seed, Path(folder))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    show_table(FIELDS, rows, settings.output)
    seconds = time.perf_counter() - start
    print(f"\n{settings.num_files} files in {seconds:.0f} s, peak memory {grown:.0f} MiB above the start")
    print("\n".join(wrong[:20]) or "every file gave finite rows or one line; no code was run")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
