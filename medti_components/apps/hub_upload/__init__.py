# SPDX-License-Identifier: Apache-2.0
"""What ``python -m medti_components push`` sends to the Hugging Face hub, and how."""
