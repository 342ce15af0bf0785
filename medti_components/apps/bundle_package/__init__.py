# SPDX-License-Identifier: Apache-2.0
"""What ``python -m medti_components package`` puts into an archive, and what it refuses."""
