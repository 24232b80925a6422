#!/usr/bin/env bash
# train.sh on Google Colab: data and runs on the mounted Drive, so that nothing is lost when the machine goes.
# The same command again goes on with the run where it was cut off; RUN=<name> begins another.
#   !DRIVE_ROOT=/content/drive/MyDrive/RAER bash train_colab.sh --epochs 20
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
: "${DRIVE_ROOT:?set DRIVE_ROOT to the folder on the mounted Drive that holds RAER and its annotation/}"
if [ ! -d "$DRIVE_ROOT" ]; then
    echo "error: DRIVE_ROOT=$DRIVE_ROOT is no folder; mount the Drive first (google.colab.drive.mount)" >&2
    exit 2
fi
RAER_ROOT="$DRIVE_ROOT" exec bash train.sh --gpu 0 --workers 2 \
    --output-dir "$DRIVE_ROOT/outputs/${RUN:-train}" --resume auto "$@"
