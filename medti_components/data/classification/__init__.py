# SPDX-License-Identifier: Apache-2.0
"""Cases that a classifier learns from and is tested on."""
