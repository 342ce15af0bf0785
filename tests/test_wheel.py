# SPDX-License-Identifier: Apache-2.0
"""What a wheel holds, unpacked into a folder that comes first on the path, and used outside a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import forked_commands
import pytest
from configs_of_bundles import BUNDLES, OVERLAYS, REPOSITORY

pytestmark = pytest.mark.slow
NEEDED = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "medti_components", "bundles", "configs")
PROSTATE = "prostate_mri_textual_inversion"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel. Read only."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in (*NEEDED, "benchmarks", "docs"):
        source, target = REPOSITORY / name, folder / "source" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def medti(site: Path, cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medti_components", *arguments]
    return forked_commands.run(command, cwd=cwd, env=environment)


def test_wheel_holds_every_bundle_and_overlay_once_as_in_the_repository(site: Path) -> None:
    shipped = site / "medti_components" / "shipped"
    for bundle in BUNDLES:
        files = [path for path in bundle.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        for path in files:
            assert (shipped / path.relative_to(REPOSITORY)).read_bytes() == path.read_bytes()
    assert {path.name for path in (shipped / "configs").iterdir()} == {path.name for path in OVERLAYS}
    assert not list(shipped.rglob("*.py"))


def test_bundles_are_listed_and_copied_to_work_on(site: Path, tmp_path: Path) -> None:
    listed = medti(site, tmp_path, "bundles")
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == [bundle.name for bundle in BUNDLES]
    copied = medti(site, tmp_path, "bundles", "copy", PROSTATE, "work")
    assert copied.returncode == 0, copied.stderr
    assert {path.name for path in (tmp_path / "work" / "bundles").iterdir()} == {PROSTATE, "tiny_latent_diffusion"}
    assert (tmp_path / "work" / "configs" / "embedded.json").is_file()
    again = medti(site, tmp_path, "bundles", "copy", PROSTATE, "work")
    assert again.stderr == f"error: 'work/bundles/{PROSTATE}' is there already: choose another folder\n"
    wrong = medti(site, tmp_path, "bundles", "copy", "prostate_mri", "other")
    assert wrong.stderr == f"error: no bundle is named 'prostate_mri': did you mean '{PROSTATE}'?\n"


def test_validate_works_outside_a_checkout(site: Path, tmp_path: Path) -> None:
    result = medti(site, tmp_path, "validate", "--all", "--steps", "false")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == f"valid: {', '.join(bundle.name for bundle in BUNDLES)}"


def test_reproduce_says_that_it_needs_a_checkout(site: Path, tmp_path: Path) -> None:
    result = medti(site, tmp_path, "reproduce", "figure2", "--output_dir", "figures", "--dry_run", "true")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_demo_ends_with_pictures_outside_a_checkout(site: Path, tmp_path: Path) -> None:
    options = ("--num_studies", "3", "--num_cases", "2", "--max_steps", "1", "--num_images", "1")
    result = medti(site, tmp_path, "demo", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    for path in result.stdout.splitlines()[-2:]:
        assert Path(path).is_file() and Path(path).is_relative_to(tmp_path / "demo")
