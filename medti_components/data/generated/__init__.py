# SPDX-License-Identifier: Apache-2.0
"""What a run of generation left: pictures and their provenance."""
