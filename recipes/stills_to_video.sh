#!/usr/bin/env bash
# Train on single images of faces, then start a video model from the image tower that learnt from them.
#   bash recipes/stills_to_video.sh OUT STILLS STILLS_RECIPE CLIPS CLIPS_RECIPE [flags of both trainings ...]
#   bash recipes/stills_to_video.sh outputs/raf-dfew data/RAF-DB raf_db data/DFEW dfew --fold 1
# Without data and without a GPU, on drawn stills and clips, about three minutes on two cores:
#   bash recipes/stills_to_video.sh outputs/stills
# Both read pixels as frame-expr does (--normalize clip).
# With --lora-rank 8 the tower keeps its weights, and the video model takes over the corrections.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"

if [ $# -eq 0 ]; then
  echo "error: name a folder for all results: bash recipes/stills_to_video.sh outputs/stills_to_video" >&2
  exit 2
fi
out=$1
shift
if [ $# -lt 4 ] || [[ $1 == -* ]]; then
  "$PYTHON" -m simulate --layout raf-db --out "$out/data/stills" --clips 280 --persons 30
  "$PYTHON" -m simulate --layout ferv39k --out "$out/data/clips" --clips 140 --persons 30
  set -- "$out/data/stills" raf_db "$out/data/clips" ferv39k --clip-path weights/mini_clip.safetensors \
    --image-size 112 --batch-size 16 --epochs 2 "$@"
fi
stills=$1 stills_recipe=$2 clips=$3 clips_recipe=$4
shift 4

"$PYTHON" main.py @recipes/frame_expr.args "@recipes/data/$stills_recipe.args" --root-dir "$stills" "$@" \
  --milestones --output-dir "$out/stills"
"$PYTHON" main.py @recipes/dfer_clip.args "@recipes/data/$clips_recipe.args" --root-dir "$clips" "$@" \
  --milestones --normalize clip --init-from "$out/stills/best.pt" --output-dir "$out/video"
