# SPDX-License-Identifier: Apache-2.0
"""What an evaluation looks at, and what it says."""
