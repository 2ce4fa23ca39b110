#!/usr/bin/env bash
# Installs the packages that TASKs lack, on Debian, if it can (as root, or by sudo without a password); otherwise says what to install.
#
#   scripts/install.sh [-n] TASK ...    -n: print the missing packages, one per line, and install nothing
#
#   build: C and C++ compiler, libclang     server: redis-server and redis-cli     lint: rustfmt and clippy
#   sanitize: gcc     cleanroom: mmdebstrap     count: valgrind     apps: Node.js, npm and Python's venv, for the applications that the tests run
#
# A tool counts if it works, not if a file with its name exists. After an installation, everything is checked again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() { echo "$*" >&2; exit 1; }
has() { command -v "$1" > /dev/null; }

# rustc links with `cc`; the crate `cc` compiles with CC and CXX or these.
works_cc() { echo 'int main(void) { return 0; }' | "${CC:-cc}" -x c - -o "$tmp/c" && echo 'int main(void) { return 0; }' | cc -x c - -o "$tmp/c"; }
works_cxx() { printf '#include <string>\nint main() { return std::string("x").size() - 1; }' | "${CXX:-c++}" -x c++ - -o "$tmp/cxx" && "$tmp/cxx"; }

# What the crate clang-sys finds, by its rules. If LIBCLANG_PATH is set, it uses only that file or directory. Otherwise it asks llvm-config
# and searches the paths of the loader and the linker and these directories. The highest version in a name wins, then the first directory.
libclang_candidates() {
  local directories=() directory file name version
  if [ -n "${LIBCLANG_PATH+set}" ]; then
    if [ -f "$LIBCLANG_PATH" ]; then echo "$LIBCLANG_PATH"; return; fi
    directories=("$LIBCLANG_PATH")
  else
    if directory=$("${LLVM_CONFIG_PATH:-llvm-config}" --prefix 2> /dev/null); then directories+=("$directory"/{bin,lib,lib64}); fi
    IFS=: read -ra paths <<< "${LD_LIBRARY_PATH:-}:${LIBRARY_PATH:-}"
    directories+=("${paths[@]}" /usr/local/llvm*/lib* /usr/local/lib*/*/* /usr/local/lib*/* /usr/local/lib* /usr/lib*/*/* /usr/lib*/* /usr/lib*)
  fi
  for directory in "${directories[@]}"; do
    for file in "$directory"/libclang.so "$directory"/libclang-*.so "$directory"/libclang.so.* "$directory"/libclang-*.so.*; do
      name=${file##*/}
      # libclang-cpp is another library, with a C++ interface.
      [ -e "$file" ] && [[ $name != *-cpp.* ]] || continue
      case $name in
        libclang.so.*) version=${name#libclang.so.} ;;
        libclang-*) version=${name#libclang-}; version=${version%???} ;;
        *) version= ;;
      esac
      # A part that is not a number counts as 0, as in "14.so.1": the last three characters are taken for ".so".
      version=${version//so/0} version=${version//.s/.0}
      printf '%s\t%s\n' "$version" "$file"
    done
  done | sort -s -t $'\t' -k1,1Vr | cut -f 2
}

works_libclang() {
  local library arguments=()
  library=$(libclang_candidates | sed -n 1p)
  [ -n "$library" ] || return 1
  # If there is a clang, bindgen uses its headers.
  ! has clang || arguments=(-isystem "$(clang -print-resource-dir)/include")
  "${CC:-cc}" "$here/install/libclang.c" -o "$tmp/libclang" -ldl
  # shellcheck disable=SC2086 # several arguments in one variable, as bindgen takes it
  "$tmp/libclang" "$library" "${arguments[@]}" ${BINDGEN_EXTRA_CLANG_ARGS:-}
}

# Succeeds if the program prints this major version or a later one.
at_least() { # MAJOR PROGRAM ...
  local major
  major=$("${@:2}" 2> /dev/null | sed -n -E '1s/^[^0-9]*([0-9]+)\..*/\1/p') && [ "${major:-0}" -ge "$1" ]
}
# Debian 12 has Node.js 18. The packages of the applications work with it; older versions do not know their syntax.
node_major=18
works_server() { at_least 7 redis-server --version || at_least 7 valkey-server --version; }
works_cli() { redis-cli --version > /dev/null 2>&1 || valkey-cli --version > /dev/null 2>&1; }
works_valgrind() { valgrind -q --tool=cachegrind --cachegrind-out-file=/dev/null true > /dev/null 2>&1; }
# Without ensurepip, the venv module exists but cannot make a venv.
works_venv() { python3 -c 'import venv, ensurepip'; }

# The minimal Rust toolchain comes without these.
rust_component() { # COMPONENT SUBCOMMAND
  cargo "$2" --version > /dev/null 2>&1 && return
  has rustup || die "cargo $2 is missing: install the Rust component $1"
  rustup component add "$1" >&2
}

# Sets the array `missing` to the missing packages of the tasks.
look() {
  local task
  missing=()
  for task in "$@"; do
    case $task in
      build)
        has cargo || die "cargo is missing: install Rust (rustup)"
        # Without certificates cargo cannot fetch a crate.
        compgen -G '/etc/ssl/certs/*' > /dev/null || missing+=(ca-certificates)
        { works_cc && works_cxx; } > /dev/null 2>&1 || missing+=(g++)
        works_libclang > /dev/null 2>&1 || missing+=(libclang-dev)
        ;;
      sanitize) has gcc || missing+=(gcc) ;;
      cleanroom) has mmdebstrap || missing+=(mmdebstrap) ;;
      count) works_valgrind || missing+=(valgrind libc6-dbg) ;;
      server)
        works_server || missing+=(redis-server)
        works_cli || missing+=(redis-tools)
        ;;
      apps)
        at_least "$node_major" node --version || missing+=(nodejs)
        npm --version > /dev/null 2>&1 || missing+=(npm)
        works_venv > /dev/null 2>&1 || missing+=(python3-venv)
        ;;
      lint) rust_component rustfmt fmt; rust_component clippy clippy ;;
      *) die "install.sh: unknown task $task" ;;
    esac
  done
}

list=
[ "${1:-}" != -n ] || { list=yes; shift; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

look "$@"
[ -z "$list" ] || { [ ${#missing[@]} -eq 0 ] || printf '%s\n' "${missing[@]}"; exit; }
[ ${#missing[@]} -gt 0 ] || exit 0
if [[ " ${missing[*]} " == *" libclang-dev "* ]] && [ -n "${LIBCLANG_PATH+set}" ]; then
  die "LIBCLANG_PATH is $LIBCLANG_PATH, which has no working libclang: correct it or unset it"
fi

say="missing: ${missing[*]}. Install them, on Debian: apt-get install ${missing[*]}"
has apt-get || die "$say"
if [ "$(id -u)" = 0 ]; then sudo=(); elif sudo -n true 2> /dev/null; then sudo=(sudo -n); else die "$say"; fi
echo "installing ${missing[*]}" >&2
"${sudo[@]}" apt-get -qq -o Acquire::Retries=3 update >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}" > /dev/null < /dev/null || die "$say"

look "$@"
[ ${#missing[@]} -eq 0 ] || die "${missing[*]} is installed but does not work: check what comes before it in PATH or, for libclang, among $(libclang_candidates | tr '\n' ' ')"
