# SPDX-License-Identifier: Apache-2.0
"""What a run is asked to make: prompts, seeds, pictures to paint into, masks."""
