#!/usr/bin/env bash
# valid.sh on Google Colab: data, checkpoint and results on the mounted Drive.
#   !DRIVE_ROOT=/content/drive/MyDrive/RAER bash valid_colab.sh --eval-checkpoint /content/drive/MyDrive/RAER/outputs/x/best.pt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${DRIVE_ROOT:?set DRIVE_ROOT to the folder on the mounted Drive that holds RAER and its annotation/}"
if [ ! -d "$DRIVE_ROOT" ]; then
    echo "error: DRIVE_ROOT=$DRIVE_ROOT is no folder; mount the Drive first (google.colab.drive.mount)" >&2
    exit 2
fi
RAER_ROOT="$DRIVE_ROOT" exec bash valid.sh --gpu 0 --workers 2 \
    --output-dir "$DRIVE_ROOT/outputs/eval-$(date +%Y%m%d-%H%M%S)" "$@"
