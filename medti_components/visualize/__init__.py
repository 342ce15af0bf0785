# SPDX-License-Identifier: Apache-2.0
"""Pages, plots and sheets that people look at."""
