# SPDX-License-Identifier: Apache-2.0
"""The commands of ``medti``, one module each.

A command's module imports what it needs when the command runs, inside its function: ``--help`` and a mistyped option
then answer at once, while PyTorch, MONAI and transformers take seconds to import.
"""
