#!/usr/bin/env bash
# Runs the tests, a process a core; installs what is missing first. Arguments go to pytest: bash test.sh tests/models -x
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
SETUP_FOR=dev
. ./setup.sh
exec "$PYTHON" -m pytest -n auto --dist worksteal "$@"
