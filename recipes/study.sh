#!/usr/bin/env bash
# Compare the recipes of CLIP-CAER on RAER: clip_caer, advanced, rapt and best over 3 seeds, and best without each of its
# parts and corrections. Writes a comparison of best with each other recipe, an ablation and a report.
#   bash recipes/study.sh OUT RAER [flags of all trainings ...]
#   bash recipes/study.sh outputs/study /data/RAER --clip-path ViT-B/16
# With crops from a pack, which has one treatment of frames without a face, all recipes need the same:
#   bash recipes/study.sh outputs/study /data/RAER --pack /data/RAER-pack --missing-face nearest
# After an interruption the same command continues. Without data and without a GPU, on simulated students:
#   bash recipes/study.sh outputs/study
# RAER: 12 trainings for the recipes, and 3 for each part and correction of best. Their time on a GPU is not measured here;
# the published log of rapt has 7.8 hours for one of its trainings, and a pack saves most of the decoding.
# Simulated students: 33 minutes on two cores that also did other work.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"

if [ $# -eq 0 ]; then
  echo "error: name a folder for all results: bash recipes/study.sh outputs/study" >&2
  exit 2
fi
out=$1
shift
recipes=(clip_caer advanced rapt best)
all=(--select-on val --seeds 3)
if [ $# -eq 0 ] || [[ $1 == -* ]]; then
  "$PYTHON" -m simulate --out "$out/data" --imbalance raer
  all+=(@recipes/simulated.args --root-dir "$out/data" "$@")
else
  lists=(--train-annotation annotation/train.txt --test-annotation annotation/test.txt)
  boxes=(--bounding-box-face annotation/face.json --bounding-box-body annotation/body.json)
  all+=("${lists[@]}" "${boxes[@]}" --root-dir "$@")
fi

for recipe in "${recipes[@]}"; do
  "$PYTHON" main.py "@recipes/$recipe.args" "${all[@]}" --output-dir "$out/$recipe" --resume auto
done
corrections="sampling=published | shared_augmentation=False | lr_fusion=1e-5"
"$PYTHON" main.py --mode ablate @recipes/best.args "${all[@]}" --drop-one --grid "$corrections" --output-dir "$out/drop-one"
rm -rf "$out/comparison" "$out/report"
for recipe in clip_caer advanced rapt; do
  "$PYTHON" main.py --mode compare "$out/$recipe" "$out/best" --output-dir "$out/comparison/$recipe"
done
"$PYTHON" main.py --mode report "${recipes[@]/#/$out/}" --output-dir "$out/report"
echo "done: $out/report, $out/comparison, $out/drop-one/ablation.md"
