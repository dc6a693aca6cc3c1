# What the scripts that make published databases share; sourced by them, not run.

# How to call the command line: the one that is installed, or else the one that setup.sh makes.
if command -v netgen >/dev/null; then
  netgen=netgen
else
  bash "$here/setup.sh"
  netgen="$here/../.venv/bin/netgen"
fi
missing=()

# need PATH WHERE: notes that PATH is not there, and where to get it.
need() {
  [ -e "$1" ] || missing+=("$1"$'\n'"    get it from $2")
}

# stop_if_missing: says all that is missing, and ends.
stop_if_missing() {
  [ ${#missing[@]} -eq 0 ] && return
  echo "these are missing:" >&2
  printf '  %s\n' "${missing[@]}" >&2
  exit 2
}

# count_lines FILE NUMBER: says so when a list is not as long as the published one.
count_lines() {
  local found
  found=$(grep -c . "$1" || true)
  [ "$found" = "$2" ] || echo "note: $1 lists $found images; the published list has $2" >&2
}

# make LMDB ARGUMENTS: makes a database, unless it is there, whole, from an earlier run.
make() {
  local lmdb=$1
  shift
  if [ -e "$lmdb" ]; then
    echo "$lmdb: there already, kept"
  else
    "$netgen" lmdb "$@" -o "$lmdb"
  fi
}
