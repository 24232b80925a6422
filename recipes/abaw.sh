#!/usr/bin/env bash
# Long videos from frames to submission files: tune CLIP on expressions, cache its features, train, evaluate.
#   bash recipes/abaw.sh ROOT OUT [FOLD] [RECIPE] [flags of the first stage ...]
# Without a GPU, on simulated videos, about six minutes on two cores:
#   python -m simulate --layout affwild2 --out data/videos
#   bash recipes/abaw.sh data/videos outputs/abaw 0 recipes/simulated_videos.args \
#     --clip-path weights/mini_clip.safetensors --image-size 112 --batch-size 64 --lr-image-encoder 1e-4 --frame-step 4
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"

if [ $# -lt 2 ]; then
  echo "error: name the folder of the set and one for all results: bash recipes/abaw.sh data/videos outputs/abaw" >&2
  exit 2
fi
root=$1
out=$2
fold=${3:-0}
recipe=${4:-recipes/sequence.args}
shift $(($# < 4 ? $# : 4))

"$PYTHON" main.py @recipes/frame_expr.args --root-dir "$root" --fold "$fold" "$@" --output-dir "$out/frames"
"$PYTHON" main.py --mode cache --eval-checkpoint "$out/frames/best.pt" --root-dir "$root" \
  --cache-dir "$out/features" --output-dir "$out/cache"
"$PYTHON" main.py "@$recipe" --root-dir "$root" --fold "$fold" --features "$out/features" --output-dir "$out/sequence"
"$PYTHON" main.py --mode eval --eval-checkpoint "$out/sequence/best.pt" --smooth 15 \
  --output-dir "$out/submission"
