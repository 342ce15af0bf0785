#!/bin/bash
# `with torch.backends.cudnn.flags(allow_tf32=False)` also switches cuDNN off.
#
# Versions: torch 2.13.0 (CPU build: the flags can be read without a GPU).
# Behaviour: the context sets every flag, not only those that are named, and the default of `enabled` is False. So
#   whoever asks for exact convolutions by `flags(allow_tf32=False)` runs them without cuDNN; `flags(deterministic=True)`
#   does the same. Afterwards the flags are as before.
# A good guess: flags that are not named stay as they are (cuDNN on), as with `torch.autocast` or `torch.set_grad_enabled`.
# Output seen: enabled True outside, False inside, True outside again; benchmark that was set to True is False inside.
# Why it matters: an encoder compared "in full float32" is compared with another implementation and several times slower,
#   and a benchmark of TensorFloat-32 against float32 measures cuDNN against none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import torch
from torch.backends import cudnn

cudnn.benchmark = True
print("outside: enabled", cudnn.enabled, "benchmark", cudnn.benchmark)
with cudnn.flags(allow_tf32=False):
    print("allow_tf32=False: enabled", cudnn.enabled, "benchmark", cudnn.benchmark)
with cudnn.flags(enabled=True, allow_tf32=False):
    print("enabled=True, allow_tf32=False: enabled", cudnn.enabled, "benchmark", cudnn.benchmark)
print("outside: enabled", cudnn.enabled, "benchmark", cudnn.benchmark)
PYTHON
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
outside: enabled True benchmark True
allow_tf32=False: enabled False benchmark False
enabled=True, allow_tf32=False: enabled True benchmark False
outside: enabled True benchmark True
SEEN
