# SPDX-License-Identifier: Apache-2.0
"""The public data sets: a reader each, and who is in which split."""
