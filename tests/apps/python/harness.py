"""Shared by the programs here: the server's port, a deadline, and polling."""

import faulthandler
import sys
import time

DEADLINE = 30

# A program that hangs prints the stack of each thread and exits.
faulthandler.dump_traceback_later(DEADLINE, exit=True)

PORT = int(sys.argv[1])
URL = f"redis://127.0.0.1:{PORT}"


def eventually(what, check):
    """Polls until `check` returns a truthy value, and returns that."""
    deadline = time.monotonic() + DEADLINE / 3
    while not (found := check()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.005)
    return found


def refusal(error, call, *args, **kwargs):
    """Asserts that a call fails with this error, and returns the error's text."""
    try:
        answer = call(*args, **kwargs)
    except error as refused:
        return str(refused)
    raise AssertionError(f"{call} answered {answer!r} instead of {error}")
