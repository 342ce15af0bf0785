# SPDX-License-Identifier: Apache-2.0
"""What ``python -m medti_components package`` puts into an archive: a module a part."""
