#!/usr/bin/env bash
# Installs the packages of the applications that the tests run, at the versions pinned in tests/apps, into target/apps.
#
# Each part runs only if its pins have changed since its last run.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/apps

# part NAME PINS COMMAND ...: runs COMMAND unless it has already run for these pins
part() {
  local name=$1 pins=$2 stamp
  shift 2
  stamp=$(sha256sum "$pins")
  [ "$(cat "target/apps/$name.stamp" 2> /dev/null)" != "$stamp" ] || return 0
  rm -f "target/apps/$name.stamp" # the next run ignores what a failed run leaves
  "$@"
  echo "$stamp" > "target/apps/$name.stamp"
}

# The check fails if the pins lack a dependency.
python_packages() {
  local venv=target/apps/python
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$1"
  "$venv/bin/pip" check
}

# Links to the programs lie beside the packages: Node.js looks for packages there.
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
