# SPDX-License-Identifier: Apache-2.0
"""What an engine does at its events: save results and checkpoints, watch losses, show progress, end in good order."""
