# SPDX-License-Identifier: Apache-2.0
"""Drawn studies in the file formats of the public data sets."""
