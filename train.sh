#!/usr/bin/env bash
# Trains. Without data of your own: on simulated students. With RAER_ROOT set: on RAER. Every flag can be appended.
#   bash train.sh
#   RAER_ROOT=/data/RAER bash train.sh --epochs 20
#   RAER_ROOT=/data/RAER RECIPE=recipes/clip_caer.args bash train.sh
#   RAER_ROOT=/data/RAER RAER_PACK=/data/RAER-pack bash train.sh     # crops are stored once, and read in every epoch
set -euo pipefail
if [[ " $* " =~ " --help "|" -h " ]]; then # needs no package
    cd "$(dirname "${BASH_SOURCE[0]}")"
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exec "${PYTHON:-python3}" main.py --mode train --help
fi
for name in RAER_ROOT RAER_ANNOTATION; do
    if [ -n "${!name:=}" ]; then
        [ -d "${!name}" ] || { echo "error: $name=${!name} is no folder; correct its path" >&2 && exit 2; }
        printf -v "$name" %s "$(cd "${!name}" && pwd)" # absolute, since the script moves
    fi
done
case "${RAER_PACK:=}" in "" | /*) ;; *) RAER_PACK="$PWD/$RAER_PACK" ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./setup.sh

if [ -z "$RAER_ROOT" ]; then
    if [ -n "$RAER_PACK" ]; then
        echo "error: RAER_PACK=$RAER_PACK is a folder for RAER's crops, but RAER_ROOT is not set" >&2
        exit 2
    fi
    set_folder="${SIMULATED_ROOT:-data/raer-sim}"
    echo "RAER_ROOT is not set: this run uses SIMULATED students, drawn by simulate."
    echo "It shows the method at work and is no claim about RAER."
    [ -f "$set_folder/about.json" ] || "$PYTHON" -m simulate --out "$set_folder"
    recipe=(@recipes/demo.args)
    [ -z "${RECIPE:-}" ] || recipe=("@$RECIPE" @recipes/simulated.args)
    exec "$PYTHON" main.py "${recipe[@]}" --root-dir "$set_folder" "$@"
fi

annotation="${RAER_ANNOTATION:-$RAER_ROOT/annotation}"
flags=("@${RECIPE:-recipes/advanced.args}" --root-dir "$RAER_ROOT"
    --train-annotation "$annotation/train.txt" --test-annotation "$annotation/test.txt"
    --bounding-box-face "$annotation/face.json" --bounding-box-body "$annotation/body.json" "$@")

pack() { # what the recipe and the flags say of lists, boxes and crops holds for the pack too
    local options value words=()
    options="$("$PYTHON" main.py "${flags[@]}" --dry-run)"
    for flag in --root-dir --dataset --class-texts --clip-column --label-column \
        --train-annotation --val-annotation --test-annotation --bounding-box-face --bounding-box-body \
        --image-size --missing-face --decode --on-bad-frame; do
        value="$(sed -n "s/^[ *]*$flag  *//p" <<<"$options")"
        [ "$value" = "(not set)" ] || words+=("$flag" "$value")
    done
    case "$(sed -n "s/^[ *]*--crop-body  *//p" <<<"$options")" in
        True) words+=(--crop-body) ;;
        False) words+=(--no-crop-body) ;;
    esac
    "$PYTHON" -m dataloader.pack --out "$RAER_PACK" "${words[@]}"
}

if [ -z "$RAER_PACK" ]; then
    echo "Every epoch decodes the frames again. RAER_PACK=DIR stores their crops there once, as JPEGs, and reads those."
elif [[ " $* " != *" --dry-run "* && " $* " != *" --help "* ]]; then
    [ -f "$RAER_PACK/index.json" ] || pack
    flags+=(--pack "$RAER_PACK")
fi
exec "$PYTHON" main.py "${flags[@]}"
