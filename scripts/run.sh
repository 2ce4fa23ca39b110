#!/usr/bin/env bash
# Starts a server with the module in the foreground, without persistence, and prints commands to try.
#
#   scripts/run.sh MODULE [PORT]     PORT: default a free port
set -euo pipefail

die() { echo "$*" >&2; exit 1; }
taken() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
first() { local name; for name in "$@"; do command -v "$name" && return; done; die "found none of: $*"; }

module=$(readlink -f "$1")
port=${2:-}
server=$(first redis-server valkey-server)
cli=$(basename "$(first redis-cli valkey-cli)")
if [ -z "$port" ]; then
  port=6379
  while taken "$port"; do port=$((RANDOM % 20000 + 10000)); done
fi
[[ $port =~ ^[0-9]+$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ] || die "PORT must be an integer between 1 and 65535, not '$port'"
! taken "$port" || die "port $port is taken: choose another, make run PORT=n"

cat <<TEXT

$("$server" --version | sed -E 's/^([A-Za-z]+) server v=([^ ]+).*/\1 \2/') with the module, on port $port. Nothing is saved. Stop it with Ctrl-C. In another terminal:

  $cli -p $port ATOMIC.RATELIMIT user:1 BUCKET 10 1 1000      # at most 10 at once, 1 more per second
  $cli -p $port ATOMIC.LOCK job:7 worker-a 30000              # a lease of 30 seconds
  $cli -p $port SET stock 5
  $cli -p $port ATOMIC.CAS stock 5 4                          # set to 4 if it is 5
  $cli -p $port ATOMIC.EVAL "return redis.call('GET', KEYS[1])" 1 stock

TEXT
mkdir -p "$(dirname "$module")/run"
exec "$server" --bind 127.0.0.1 --port "$port" --dir "$(dirname "$module")/run" --save '' --appendonly no --loadmodule "$module"
