# SPDX-License-Identifier: Apache-2.0
"""The training of the embedded base model, from captioned scenes to a folder in the layout of diffusers."""
