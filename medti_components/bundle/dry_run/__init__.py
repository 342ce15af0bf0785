# SPDX-License-Identifier: Apache-2.0
"""What a run would do, how long it would take and how much memory, without doing it."""
