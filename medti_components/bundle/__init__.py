# SPDX-License-Identifier: Apache-2.0
"""What a running config needs: keys, schema, resolved config, error line, dry run."""
