#!/usr/bin/env bash
# Makes .venv beside this folder and installs the project with everything the demo and the tests need.
# Run it as often as you like: when nothing changed since the last time it returns at once.
#   PYTHON=python3.12 bash scripts/setup.sh   chooses the interpreter (3.10 or newer)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/installed-from
wanted=$(cat setup.py pyproject.toml constraints.txt scripts/setup.sh | cksum)
[ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "setup: no Python 3.10 or newer was found; install one (apt-get install python3) or set PYTHON" >&2
  exit 1
fi

make_venv() { "$python" -m venv .venv >/dev/null 2>&1; }
if [ ! -x .venv/bin/pip ] && ! make_venv; then
  # Debian and Ubuntu split the venv module's pip into a package of its own.
  package=$("$python" -c 'import sys; print(f"python3.{sys.version_info[1]}-venv")')
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  echo "setup: installing $package, which Python needs to make virtual environments"
  if ! { $as_root apt-get update -qq && $as_root apt-get install -y -qq "$package"; } >/dev/null 2>&1; then
    echo "setup: that needs an administrator; run: sudo apt-get install $package" >&2
    exit 1
  fi
  rm -rf .venv
  "$python" -m venv .venv
fi

echo "setup: installing into .venv (a few hundred MB the first time; PyTorch is the large part)"
.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
echo "$wanted" > "$stamp"
