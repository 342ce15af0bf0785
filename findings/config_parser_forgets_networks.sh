#!/bin/bash
# Setting any key of a MONAI ConfigParser makes it forget every object that it has built.
#
# Versions: monai 1.6.1, torch 2.13.0 (CPU), numpy 2.4.6.
# Behaviour: `parser["steps"] = 5` after `parser.get_parsed_content("network")` resets the parser. The next reference to
#   the network, by whatever part of the config, builds a second one with new random weights. The optimiser, trainer or
#   evaluator that is asked for afterwards holds the second; weights that were loaded into the first are lost, with no
#   error and no warning.
# A good guess: objects that do not depend on the changed key are kept, since `get_parsed_content` is lazy and cached.
# Output seen: the same object before the key is set, another one after it, and the loaded weights gone.
# Why it matters: a script that loads a checkpoint into a bundle's network and then sets a number of steps trains or
#   evaluates a network of random weights, and ends well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 monai==1.6.1
cat >"$folder/look.py" <<'PYTHON'
import torch
from monai.bundle import ConfigParser

parser = ConfigParser(
    {
        "steps": 1,
        "network": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1},
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.1},
    }
)
network = parser.get_parsed_content("network")
torch.nn.init.constant_(network.weight, 7.0)  # as loading a checkpoint does
print("before: same object", parser.get_parsed_content("network") is network)
parser["steps"] = 5
optimizer = parser.get_parsed_content("optimizer")
print("after: same object", parser.get_parsed_content("network") is network)
trained = optimizer.param_groups[0]["params"][0]
print("after: the optimiser has the loaded weights", bool((trained == 7.0).all()))
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/look.py" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
before: same object True
after: same object False
after: the optimiser has the loaded weights False
SEEN
