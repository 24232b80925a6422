#!/usr/bin/env bash
# Trains. Without data of your own: on simulated students. With RAER_ROOT set: on RAER. Every flag can be appended.
#   bash train.sh
#   RAER_ROOT=/data/RAER bash train.sh --epochs 20
#   RAER_ROOT=/data/RAER RECIPE=recipes/clip_caer.args bash train.sh
set -euo pipefail
RAER_ROOT="${RAER_ROOT:+$(cd "$RAER_ROOT" && pwd)}" # absolute, since the next line moves
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup.sh

if [ -z "$RAER_ROOT" ]; then
    set_folder="${SIMULATED_ROOT:-data/raer-sim}"
    echo "RAER_ROOT is not set: this run uses SIMULATED students, drawn by dataloader/synthetic."
    echo "It shows the method at work and is no claim about RAER."
    [ -f "$set_folder/about.json" ] || "$PYTHON" -m dataloader.synthetic --out "$set_folder"
    exec "$PYTHON" main.py "@${RECIPE:-recipes/demo.args}" @recipes/simulated.args --root-dir "$set_folder" "$@"
fi

annotation="${RAER_ANNOTATION:-$RAER_ROOT/annotation}"
exec "$PYTHON" main.py "@${RECIPE:-recipes/advanced.args}" --root-dir "$RAER_ROOT" \
    --train-annotation "$annotation/train.txt" --test-annotation "$annotation/test.txt" \
    --bounding-box-face "$annotation/face.json" --bounding-box-body "$annotation/body.json" "$@"
