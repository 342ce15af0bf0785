# SPDX-License-Identifier: Apache-2.0
"""Findings read back from generated images: which were asked for, which a classifier sees."""
