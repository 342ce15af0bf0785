# SPDX-License-Identifier: Apache-2.0
"""Files of learned words, of this software and of other tools."""
