#!/usr/bin/env bash
# Runs `make run` and checks that the server answers, that a command of the module works, and that a taken port is refused.
set -euo pipefail
cd "$(dirname "$0")/.."

port=17379 log=target/smoke.log
mkdir -p target
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
make run PORT="$port" > "$log" 2>&1 < /dev/null &
make=$!
# `make run` may install the client first. There is no deadline, since the build may take long: the server answers or `make` ends.
while
  cli=$(command -v redis-cli valkey-cli | head -n 1 || true)
  [ -z "$cli" ] || [ "$("$cli" -p "$port" PING 2> /dev/null || true)" != PONG ]
do
  kill -0 "$make" 2> /dev/null || { cat "$log"; echo "make run ended early"; exit 1; }
  sleep 0.2
done
cat "$log"
"$cli" -p "$port" SET stock 5 > /dev/null
answer=$("$cli" -p "$port" ATOMIC.CAS stock 5 4)
pid=$("$cli" -p "$port" INFO server | sed -n 's/^process_id:\([0-9]*\).*/\1/p')
refused=0
! make run PORT="$port" > "$log.taken" 2>&1 < /dev/null || refused=1
kill "$pid"
wait "$make" || true
[ "$refused" = 0 ] || { echo "a taken port was not refused"; exit 1; }
grep "port $port is taken" "$log.taken"
echo "ATOMIC.CAS stock 5 4 -> $answer"
[ "$answer" = 1 ]
