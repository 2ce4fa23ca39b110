#!/usr/bin/env bash
# Installs the packages of the applications that the tests run, at the versions pinned in tests/apps, into target/apps.
#
# Each part runs when what it pins has changed since it last ran.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/apps

# part NAME PINS COMMAND ...: runs the command unless it has run for these pins
part() {
  local name=$1 pins=$2 stamp
  shift 2
  stamp=$(sha256sum "$pins")
  [ "$(cat "target/apps/$name.stamp" 2> /dev/null)" != "$stamp" ] || return 0
  rm -f "target/apps/$name.stamp" # what a failed run leaves behind counts for nothing
  "$@"
  echo "$stamp" > "target/apps/$name.stamp"
}

# What the pins leave out fails the check.
python_packages() {
  local venv=target/apps/python
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$1"
  "$venv/bin/pip" check
}

# Links to the programs stand beside the packages, where Node.js looks for them.
node_packages() {
  local dir=target/apps/node
  mkdir -p "$dir"
  cp "$(dirname "$1")"/package{,-lock}.json "$dir"
  ln -sfn ../../../tests/apps/node "$dir/programs"
  ln -sfn ../../../examples "$dir/examples"
  npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund --loglevel=error
}

part python tests/apps/python/requirements.txt python_packages tests/apps/python/requirements.txt
part node tests/apps/node/package-lock.json node_packages tests/apps/node/package-lock.json
