#!/usr/bin/env bash
# Evaluates a checkpoint on a test list. A checkpoint of ours knows its own options and lists; any flag given wins.
#   bash valid.sh                                             # the shipped demo weights on simulated students
#   bash valid.sh --eval-checkpoint outputs/x/best.pt
#   RAER_ROOT=/data/RAER bash valid.sh --eval-checkpoint outputs/x/best.pt
set -euo pipefail
if [[ " $* " =~ " --help "|" -h " ]]; then # needs no package
    cd "$(dirname "${BASH_SOURCE[0]}")"
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exec "${PYTHON:-python3}" main.py --mode eval --help
fi
for name in RAER_ROOT RAER_ANNOTATION; do
    if [ -n "${!name:=}" ]; then
        [ -d "${!name}" ] || { echo "error: $name=${!name} is no folder; correct its path" >&2 && exit 2; }
        printf -v "$name" %s "$(cd "${!name}" && pwd)" # absolute, since the script moves
    fi
done
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup.sh

where=()
if [ -n "$RAER_ROOT" ]; then
    annotation="${RAER_ANNOTATION:-$RAER_ROOT/annotation}"
    where=(--root-dir "$RAER_ROOT" --test-annotation "$annotation/test.txt"
        --bounding-box-face "$annotation/face.json" --bounding-box-body "$annotation/body.json")
fi
if [[ " $* " != *" --eval-checkpoint"* ]]; then
    if [ -n "$RAER_ROOT" ]; then
        echo "error: RAER_ROOT is set, but no checkpoint is named; add --eval-checkpoint outputs/RUN/best.pt" >&2
        exit 2
    fi
    set_folder="${SIMULATED_ROOT:-data/raer-sim}"
    echo "no --eval-checkpoint: the shipped weights/demo_best.pt on SIMULATED students; no claim about RAER."
    [ -f "$set_folder/about.json" ] || "$PYTHON" -m simulate --out "$set_folder"
    where=(--eval-checkpoint weights/demo_best.pt --root-dir "$set_folder")
fi
exec "$PYTHON" main.py --mode eval ${where[@]+"${where[@]}"} "$@"
