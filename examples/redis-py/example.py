"""Atomic's commands through redis-py. Run: python3 example.py [redis://host:port]"""

import sys
import threading
import uuid
from contextlib import contextmanager

import redis

client = redis.Redis.from_url(sys.argv[1] if len(sys.argv) > 1 else "redis://localhost", decode_responses=True)
atomic = client.execute_command


def passes(user):
    """Allows 3 requests at once and one more each minute. A denial also says when to retry."""
    return atomic("ATOMIC.RATELIMIT", f"rate:{user}", "BUCKET", 3, 1, 60_000)[0] == 1


def update(key, change):
    """Compare-and-set: never overwrites what another client wrote after the read."""
    while True:
        old = client.get(key)
        if atomic("ATOMIC.CAS", key, old, change(old)):
            return


@contextmanager
def locked(resource, lease_ms=10_000, wait_ms=5_000):
    """Waits on the server, without polling. A socket_timeout must be longer than the wait."""
    owner = uuid.uuid4().hex
    taken, fence, *_ = atomic("ATOMIC.LOCK", f"lock:{resource}", owner, lease_ms, "WAIT", wait_ms)
    if not taken:
        raise TimeoutError(resource)
    try:
        yield fence  # grows with each owner, so a store can reject writes of an older one
    finally:
        atomic("ATOMIC.UNLOCK", f"lock:{resource}", owner)


def report(name):
    with locked("report") as fence:
        print(name, "has the lock, fence", fence)


while passes("ann"):
    print("passes")
client.set("answer", 41)
update("answer", lambda old: int(old) + 1)
threading.Thread(target=report, args=["bob"]).start()
report("ann")

# A scripted command, declared in lua/commands/inventory.lua. The module argument commands-dir names the directory.
client.set("{book}:stock", 5)
reserved, left, orders = atomic("INVENTORY.RESERVE", "{book}:stock", "{book}:orders", 2)
print("reserved" if reserved else "sold out", left, "left")

# A script. Once loaded, it survives restarts.
sha1 = atomic("ATOMIC.SCRIPT", "LOAD", "return redis.call('ZADD', KEYS[1], 'GT', 'CH', ARGV[2], ARGV[1])")
print("a new best" if atomic("ATOMIC.EVALSHA", sha1, 1, "scores", "ann", 30) else "not better")
