# SPDX-License-Identifier: Apache-2.0
"""What ``python -m medti_components validate`` looks at: a module a subject, a function a check."""
