# SPDX-License-Identifier: Apache-2.0
"""What ``python -m medti_components validate`` checks: one module per subject, one function per check."""
