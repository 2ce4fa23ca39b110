#!/usr/bin/env bash
# Runs the README's two commands on a fresh machine: a minimal Debian 12 in its own root, which contains this commit and the Rust
# toolchain (read-only) and nothing else. No path of this machine can be reached from inside.
#
#   scripts/cleanroom.sh             `make run` and `make test`, on a bare system and on one with LLVM's runtime: an hour on two cores
#   scripts/cleanroom.sh CASE ...    bare: both commands     llvm: both, after the package `llvm` is installed
#                                    short: with `llvm`, only the installation and the build script that needs libclang
#
# Needs Debian, root with the right to mount (in a container: CAP_SYS_ADMIN), mmdebstrap, and the network for apt, cargo, pip and npm,
# which use the same registries as on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
room=$PWD/target/cleanroom

die() { echo "cleanroom.sh: $*" >&2; exit 1; }

# --- inside the namespace: the root becomes /, and the rest of the machine is unmounted

if [ "${1:-}" = --enter ]; then
  root=$2 toolchain=$3
  mount --bind "$root" "$root"
  cd "$root"
  mount --bind "$toolchain" opt/rust
  mount -o remount,bind,ro opt/rust
  mount -t proc proc proc
  mount -t tmpfs tmpfs dev
  for device in null zero full random urandom; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
  mkdir dev/shm dev/pts; mount -t tmpfs tmpfs dev/shm; mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
  ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
  mkdir outside; pivot_root . outside
  cd /
  umount -l outside; rmdir outside
  # Clients find the registries by these environment variables, so they are passed on.
  clients='^([a-z]+_proxy|[A-Z]+_PROXY|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|PIP_(CERT|PROXY|INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|CARGO_(HTTP|NET|SOURCE|REGISTRIES)_[A-Z_]+|npm_config_(registry|cafile|proxy|https_proxy))='
  mapfile -d '' -t passed < <(env -0 | grep -zE "$clients")
  cd /root/atomic
  exec env -i HOME=/root LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${passed[@]+"${passed[@]}"} bash -euo pipefail -c "$4"
fi

# --- outside

cases=("$@")
[ $# -gt 0 ] || cases=(bare llvm)
for case in "${cases[@]}"; do [[ $case =~ ^(bare|llvm|short)$ ]] || die "unknown case $case"; done
command -v mmdebstrap > /dev/null || die "needs mmdebstrap: apt-get install mmdebstrap"
unshare --mount --pid --fork true 2> /dev/null || die "needs root that may mount (in a container: CAP_SYS_ADMIN)"
[ -z "$(git status --porcelain)" ] || echo "cleanroom.sh: what is not committed is not in the clean room" >&2

rm -rf "$room"
mkdir -p "$room"
trap 'rm -rf "$room"' EXIT
# Only Debian's own archive, as this machine uses it, not other sources that it may have.
sources=/etc/apt/sources.list.d/debian.sources
[ -f "$sources" ] || sources=/etc/apt/sources.list
echo "making a minimal Debian from $sources" >&2
mmdebstrap --quiet --mode=root --variant=minbase bookworm "$room/base.tar" "$sources"

prepare() { # ROOT
  mkdir -p "$1/opt/rust" "$1/root/.cargo" "$1/usr/local/share/ca-certificates"
  tar -C "$1" -xf "$room/base.tar"
  # The root is temporary: nothing needs to reach the disk.
  echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/cleanroom"
  # What this machine needs to reach the registries: name resolution, certificate authorities, the clients' configuration.
  cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
  apt-config dump | grep -E '^Acquire::([Hh]ttps?|Check)' > "$1/etc/apt/apt.conf.d/99machine" || true
  find /usr/local/share/ca-certificates -name '*.crt' -exec cp -L {} "$1/usr/local/share/ca-certificates/" \;
  [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/"
  local file
  for file in .cargo/config.toml .npmrc .config/pip/pip.conf; do
    [ ! -f "$HOME/$file" ] || install -D -m 600 "$HOME/$file" "$1/root/$file"
  done
  git clone --quiet --no-local . "$1/root/atomic"
}

# Checks that nothing of this machine is there, and nothing that the commands must install.
bare='for tool in make cc c++ g++ git redis-server redis-cli valkey-server node npm python3; do
  ! command -v $tool > /dev/null || { echo "the clean room is not clean: $(command -v $tool)"; exit 1; }
done
[ "$(ls -A /root/.cargo | grep -vxc config.toml)" = 0 ]
[ ! -e '"$(printf %q "$PWD")"' ]
awk "{ print \$5 }" /proc/self/mountinfo | grep -vE "^/(|proc|opt/rust|dev(/.*)?)$" && { echo "mounted from outside"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=3 update
packages() { apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends "$@" > /dev/null; }
packages make ca-certificates
'
run='scripts/smoke.sh
make test
'
for case in "${cases[@]}"; do
  root=$room/$case
  prepare "$root"
  case $case in
    bare) steps=$bare$run ;;
    llvm) steps=$bare"packages llvm"$'\n'$run ;;
    short) steps=$bare"packages llvm"$'\n''scripts/install.sh build; cargo check --quiet -p redis-module' ;;
  esac
  echo "=== clean room: $case" >&2
  start=$SECONDS
  unshare --mount --pid --fork --kill-child -- "$0" --enter "$root" "$(rustc --print sysroot)" "$steps" < /dev/null
  echo "=== clean room: $case passed in $((SECONDS - start)) s" >&2
  rm -rf "$root"
done
