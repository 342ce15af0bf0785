#!/bin/bash
# Checks this software on one GPU. Each step has its own time limit; results.md holds what was found, whatever failed.
#   bash benchmarks/gpu/run.sh --output DIR [--device cuda|cpu] [--scale N] [right speed sampling runs]
# On a machine without network, see prepare.sh first. --scale 8 --device cpu tries everything on a CPU.
set -uo pipefail
cd "$(dirname "$0")/../.."
device=cuda scale=1 output="" steps=()
while (($#)); do
    case $1 in
    --output) output=$2 && shift ;;
    --device) device=$2 && shift ;;
    --scale) scale=$2 && shift ;;
    right | speed | sampling | runs) steps+=("$1") ;;
    *) echo "unknown argument '$1': see the head of this file" >&2 && exit 2 ;;
    esac
    shift
done
[ -n "$output" ] || { echo "--output is missing: name a folder for the results" >&2 && exit 2; }
[ ${#steps[@]} -gt 0 ] || steps=(right runs speed sampling)
mkdir -p "$output"
python=${PYTHON:-python3}
precision=bfloat16 few=()
[ "$device" = cpu ] && precision=float32 && few=(--num_rounds 1)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore PYTHONUNBUFFERED=1

step() { # step NAME SECONDS COMMAND...: its output goes to NAME.log
    local name=$1 seconds=$2 start=$SECONDS status=0
    shift 2
    timeout "$seconds" "$@" >"$output/$name.log" 2>&1 || status=$?
    echo "$name: exit $status after $((SECONDS - start)) s (limit $seconds s)" | tee -a "$output/steps.txt"
    [ $status -eq 0 ] || tail -n 5 "$output/$name.log"
    write_table
}

write_table() {
    {
        cat "$output/steps.txt" | sed 's/^/- /'
        echo
        "$python" benchmarks/gpu/results.py "$output" 2>/dev/null
        for name in speed sampling; do
            [ -f "$output/$name.log" ] && echo && grep '^|' "$output/$name.log"
        done
    } >"$output/results.md"
}

: >"$output/steps.txt"
for name in "${steps[@]}"; do
    case $name in
    right)
        step right 150 "$python" benchmarks/gpu/right.py --output "$output/right.json" --device "$device" \
            $([ "$device" = cpu ] && echo --num_steps 2) ;;
    runs)
        step runs 180 "$python" benchmarks/gpu/stable_diffusion_2_runs.py --output "$output/runs.json" \
            --device "$device" --scale "$scale" \
            $([ "$device" = cpu ] && echo --max_steps 2 --num_inference_steps 2 --overlays default) ;;
    speed)
        step speed 75 "$python" benchmarks/training_step.py --sd2_random --scale "$scale" --device "$device" \
            --dtype $precision --batch_sizes 1 8 --num_concepts 2 --without_memory "${few[@]}" ;;
    sampling)
        step sampling 50 "$python" benchmarks/sampling.py --sd2_random --scale "$scale" --device "$device" \
            --dtype $precision --num_steps 20 --num_rounds 3 "${few[@]}" ;;
    esac
done
cat "$output/results.md"
