# SPDX-License-Identifier: Apache-2.0
"""Builds a wheel with bundles and overlays; everything else is declared in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("bundles/*/**/*", "configs/*.json", "benchmarks/*.json", "docs/*.md", "README.md")


class BuildWithBundles(build_py):
    """Puts the bundles into ``medti_components/shipped`` of a wheel; a checkout keeps them in one place."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        for path in sorted(path for pattern in SHIPPED for path in ROOT.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                target = Path(self.build_lib, "medti_components", "shipped", path.relative_to(ROOT))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithBundles})
