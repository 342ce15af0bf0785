# SPDX-License-Identifier: Apache-2.0
"""What the command ``reproduce`` runs and tabulates."""
