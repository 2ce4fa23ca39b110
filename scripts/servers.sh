#!/usr/bin/env bash
# Puts the servers that the tests run on beside the system's own: Redis 8.0 and Valkey 8.0, 8.1 and 9, from Debian's packages,
# each in its own root with its own C library, without touching the system.
#
#   scripts/servers.sh [DIR]     default: servers/ at the root of the checkout
#
# Each becomes DIR/NAME/bin/server and DIR/NAME/bin/cli, and one line "NAME VERSION PATH" on standard output. What is there already is
# kept, so a second run takes no time. Needs apt, the Debian archive keyring and the network; no root.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$here/servers}"
dir=$(cd "${1:-$here/servers}" && pwd)
rm -rf "$dir/.apt"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# name, suite the package comes from, suite its libraries come from
table='
redis-8.0  trixie             trixie
valkey-8.0 bookworm-backports bookworm
valkey-8.1 trixie             trixie
valkey-9   sid                sid
'

die() { echo "servers.sh: $*" >&2; exit 1; }

# The archive that this system itself uses.
archive() {
  local uri
  uri=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  [ -n "$uri" ] || uri=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) { print $i; exit } }' /etc/apt/sources.list 2>/dev/null)
  [ -n "$uri" ] || die "found no Debian archive in /etc/apt: this script needs Debian"
  echo "$uri"
}

# Sets the array `apt` to the options of an apt of its own for SUITE, and fetches its package lists once.
prepare_apt() { # SUITE BASE
  local state=$dir/.apt/$1 source
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : > "$state/status"
  source="deb [signed-by=$keyring] $(archive)"
  echo "$source $1 main" > "$state/sources.list"
  [ "$1" = "$2" ] || echo "$source $2 main" >> "$state/sources.list"
  apt=(-qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
       -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o Dir::State::status="$state/status" -o APT::Sandbox::User=root)
  [ -e "$state/updated" ] || apt-get "${apt[@]}" -o Acquire::Retries=3 update >&2
  touch "$state/updated"
}

# The packages named and every library they need, one per line. Only libraries: a server needs nothing else of its dependencies.
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

install_server() { # NAME SUITE BASE
  local root=$dir/$1 product=${1%-*} fresh=$dir/$1.new packages loader deb tool
  local apt
  prepare_apt "$2" "$3"
  rm -rf "$fresh"; mkdir -p "$fresh/debs" "$fresh/bin"
  mapfile -t packages < <(with_libraries "$product-server" "$product-tools")
  ( cd "$fresh/debs" && apt-get "${apt[@]}" -o Acquire::Retries=3 download "${packages[@]}" >&2 )
  for deb in "$fresh"/debs/*.deb; do dpkg-deb -x "$deb" "$fresh"; done
  rm -rf "$fresh/debs"
  loader=$(cd "$fresh" && find . -name 'ld-linux*.so.*' | head -n 1)
  [ -n "$loader" ] || die "$1: no dynamic loader among ${packages[*]}"
  # Wrappers find their root by themselves, so that a checkout can be moved. `exec` keeps the process id.
  for tool in server cli; do
    cat > "$fresh/bin/$tool" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu* "\$root"/lib/*-linux-gnu* | tr ' ' ':')
exec "\$root/$loader" --library-path "\$libraries" "\$root/usr/bin/$product-$tool" "\$@"
WRAPPER
    chmod +x "$fresh/bin/$tool"
  done
  "$fresh/bin/server" --version > /dev/null || die "$1 does not start"
  rm -rf "$root"; mv "$fresh" "$root"
}

[ -r "$keyring" ] || die "no Debian archive keyring ($keyring): this script needs Debian"
while read -r name suite base; do
  [ -n "$name" ] || continue
  server=$dir/$name/bin/server
  "$server" --version > /dev/null 2>&1 || install_server "$name" "$suite" "$base"
  echo "$name $("$server" --version | sed -E 's/.* v=([^ ]+).*/\1/') $server"
done <<< "$table"
rm -rf "$dir/.apt"
