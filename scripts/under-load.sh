#!/usr/bin/env bash
# Runs a command on two cores beside busy loops. The loops end with the command, however it ends.
#
#   scripts/under-load.sh LOOPS COMMAND ...
set -euo pipefail

loops=$1
shift
# A loop checks now and then that this script still runs, so that no loop is left if the script is killed.
busy='while kill -0 "$1" 2> /dev/null; do i=0; while [ "$i" -lt 100000 ]; do i=$((i + 1)); done; done'
taskset -cp 0,1 $$ > /dev/null 2>&1 || true # fails on a machine with one core, where it is not needed
pids=()
trap '{ kill "${pids[@]}" && wait; } > /dev/null 2>&1 || true' EXIT
for (( n = 0; n < loops; n++ )); do
  sh -c "$busy" busy $$ &
  pids+=($!)
done
"$@"
