# SPDX-License-Identifier: Apache-2.0
"""What a trainer does in one step, the batches that it sees, and the folder and the history of its run."""
