#!/usr/bin/env bash
# Runs a command on two cores with busy loops beside it. They end with it, however it ends.
#
#   scripts/under-load.sh LOOPS COMMAND ...
set -euo pipefail

loops=$1
shift
# Looks for this script from time to time, so that none is left over if it was killed.
busy='while kill -0 "$1" 2> /dev/null; do i=0; while [ "$i" -lt 100000 ]; do i=$((i + 1)); done; done'
taskset -cp 0,1 $$ > /dev/null 2>&1 || true # on a machine with one core there is none to leave out
pids=()
trap '{ kill "${pids[@]}" && wait; } > /dev/null 2>&1 || true' EXIT
for (( n = 0; n < loops; n++ )); do
  sh -c "$busy" busy $$ &
  pids+=($!)
done
"$@"
