#!/bin/bash
# Two steps of diffusers' EulerAncestralDiscreteScheduler end in NaN where three, or one, do not.
#
# Versions: diffusers 0.42.1, torch 2.13.0 (CPU), numpy 2.4.6.
# Behaviour: with a scaled-linear schedule that ends at a beta of 0.03 and "linspace" spacing, `step` returns NaN from
#   the first of two steps on, whatever the model predicts; with 1 and with 3 to 30 steps all is finite. The ancestral
#   step takes sigma_down = sqrt(sigma_to**2 - sigma_up**2) in float32. sigma_up**2 is sigma_to**2 but for a share of
#   (sigma_to / sigma_from)**2, here 1e-8 and so below float32's resolution: the difference is rounded to a negative
#   number. No error and no warning; a pipeline turns NaN into a black picture.
# A good guess: two steps give a blurred picture, and fewer steps only ever give a worse one; NaN comes from float16.
# Output seen: "NaN at [2]" for beta_end 0.03, "NaN at []" for Stable Diffusion's 0.012.
# Why it matters: a sweep over the number of steps, or a quick smoke test with two, writes black pictures that count as
#   generated images; whoever measures quality or trains a classifier on them does not notice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.23.0
cat >"$folder/look.py" <<'PYTHON'
import torch
from diffusers import EulerAncestralDiscreteScheduler


def numbers_with_nan(beta_end):
    found = []
    for number in range(1, 31):
        scheduler = EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=beta_end, beta_schedule="scaled_linear",
            prediction_type="v_prediction", timestep_spacing="linspace", steps_offset=1,
        )
        scheduler.set_timesteps(number)
        sample = torch.ones(1, 4, 2, 2) * float(scheduler.init_noise_sigma)
        for timestep in scheduler.timesteps:
            scheduler.scale_model_input(sample, timestep)
            generator = torch.Generator().manual_seed(0)
            sample = scheduler.step(torch.zeros_like(sample), timestep, sample, generator=generator).prev_sample
        if not torch.isfinite(sample).all():
            found.append(number)
    return found


for beta_end in (0.012, 0.03):
    print(f"beta_end {beta_end}: NaN at {numbers_with_nan(beta_end)}")
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/look.py" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
beta_end 0.012: NaN at []
beta_end 0.03: NaN at [2]
SEEN
