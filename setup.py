# SPDX-License-Identifier: Apache-2.0
"""Everything is declared in setup.cfg; this file is for tools that ask for one."""

from setuptools import setup

setup()
