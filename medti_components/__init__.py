# SPDX-License-Identifier: Apache-2.0
"""Textual inversion of medical images: what MONAI, diffusers, transformers and ignite lack."""

__version__ = "0.1.0"
