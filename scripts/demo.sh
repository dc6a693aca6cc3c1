#!/usr/bin/env bash
# Sets the project up and runs the whole path once: build, make data, train, score, convert, verify.
# Arguments go to `netgen demo` (see `netgen demo --help`).
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
bash "$here/setup.sh"
exec "$here/../.venv/bin/netgen" demo "$@"
