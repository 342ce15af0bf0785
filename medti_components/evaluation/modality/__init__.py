# SPDX-License-Identifier: Apache-2.0
"""What only one kind of image has: lesions on two sequences, left and right, stain."""
