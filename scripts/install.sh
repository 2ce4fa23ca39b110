#!/usr/bin/env bash
# Installs what the named tasks lack on a Debian, when it may (root, or sudo without a password); otherwise says what to install.
#
#   scripts/install.sh TASK ...     build: C++ compiler and libclang     server: redis-server and redis-cli     lint: rustfmt and clippy
#                                   apps: Node.js, npm and Python's venv, for the applications that the tests run
set -euo pipefail

die() { echo "$*" >&2; exit 1; }
has() { command -v "$1" > /dev/null; }
has_libclang() { [ -n "${LIBCLANG_PATH:-}" ] || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' > /dev/null || ldconfig -p 2> /dev/null | grep -q libclang; }
# Without ensurepip there is a venv module that makes none.
has_venv() { python3 -c 'import venv, ensurepip' 2> /dev/null; }

missing=()
for task in "$@"; do
  case $task in
    build)
      has cargo || die "cargo is missing: install Rust (rustup)"
      has g++ || missing+=(g++)
      has_libclang || missing+=(libclang-dev)
      ;;
    server)
      { has redis-server || has valkey-server; } && { has redis-cli || has valkey-cli; } || missing+=(redis-server redis-tools)
      ;;
    apps)
      has node || missing+=(nodejs)
      has npm || missing+=(npm)
      has_venv || missing+=(python3-venv)
      ;;
    lint)
      # The smallest Rust toolchain comes without these.
      for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version > /dev/null 2>&1 && continue
        has rustup || die "cargo ${component/rustfmt/fmt} is missing: install the Rust component $component"
        rustup component add "$component" >&2
      done
      ;;
    *) die "install.sh: unknown task $task" ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

say="missing: ${missing[*]}. Install them, on Debian: apt-get install ${missing[*]}"
has apt-get || die "$say"
if [ "$(id -u)" = 0 ]; then sudo=(); elif sudo -n true 2> /dev/null; then sudo=(sudo -n); else die "$say"; fi
echo "installing ${missing[*]}" >&2
"${sudo[@]}" apt-get -qq -o Acquire::Retries=3 update >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}" > /dev/null < /dev/null || die "$say"
