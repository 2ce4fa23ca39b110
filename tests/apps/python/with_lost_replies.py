"""redis-py behind a proxy that loses the first reply to each request of the module: the client sends again by default."""

import sys
import threading

import redis
from harness import PORT, eventually

TIMEOUT = float(sys.argv[2])
client = redis.Redis(port=PORT, socket_timeout=TIMEOUT)
# Not through the proxy.
direct = redis.Redis(port=int(sys.argv[3]))


def a_plain_counter_counts_twice():
    # A slow machine may time out once more.
    assert client.execute_command("ATOMIC.INCRBY", "plain", 3)[1] in (6, 9, 12, 15)


def a_counter_inside_idem_counts_once():
    call = ("ATOMIC.IDEM", "{n}request-1", 120_000, "INCRBY", "{n}counter", 3)
    assert client.execute_command(*call) == [1, 3], "replayed"
    assert direct.get("{n}counter") == b"3"
    assert client.execute_command("ATOMIC.IDEM", "{n}request-2", 120_000, "INCRBY", "{n}counter", 3) == [1, 6]


def a_lock_is_acquired_once():
    granted, fence, _, holds, _ = client.execute_command("ATOMIC.LOCK", "lock", "me", 60_000)
    assert (granted, holds) == (1, 1)
    assert client.execute_command("ATOMIC.LOCK", "lock", "me", 50_000)[1] == fence
    assert client.execute_command("ATOMIC.LOCK", "lock", "other", 60_000)[0] == 0
    assert client.execute_command("ATOMIC.UNLOCK", "lock", "me") == -1, "released by the first call"
    assert not direct.exists("lock")


def permits_are_acquired_once():
    granted, _, in_use, _, _ = client.execute_command("ATOMIC.SEMACQUIRE", "permits", 3, "me", 60_000, "PERMITS", 2)
    assert (granted, in_use) == (1, 2)
    assert client.execute_command("ATOMIC.SEMACQUIRE", "permits", 3, "other", 60_000, "PERMITS", 2)[0] == 0
    assert client.execute_command("ATOMIC.SEMRELEASE", "permits", "me", "PERMITS", 2) == -1, "released by the first call"
    assert not direct.exists("permits")


def a_request_is_begun_and_ended_once():
    begin = ("ATOMIC.IDEMBEGIN", "payment", "digest", 60_000, "TOKEN")
    phase, _, token = client.execute_command(*begin, "mine")
    assert (phase, token) == (1, b"mine")
    assert client.execute_command(*begin, "yours")[0] == 2
    assert client.execute_command("ATOMIC.IDEMEND", "payment", "mine", "200 OK", "PX", 60_000) == 1
    assert direct.execute_command(*begin, "yours")[::2] == [3, b"200 OK"]


def leased_work_is_not_lost():
    direct.zadd("due", {"a": 1, "b": 2})
    member, token = client.execute_command("ATOMIC.ZPOPDUE", "due", "LEASE", 60_000)
    assert member == b"b", "the lost reply had the other member"
    assert direct.execute_command("ATOMIC.ZDONE", "due", member, token) == 1
    assert direct.zscore("due", "a") > 2, "due again when its lease ends"


def a_wait_that_outlasts_the_timeout_of_the_client_is_granted():
    # A slow machine may take longer than the default to connect again.
    direct.config_set("atomic.line-grace-ms", 60_000)
    direct.execute_command("ATOMIC.LOCK", "line", "holder", 60_000)
    granted = []

    def wait():
        granted.append(client.execute_command("ATOMIC.LOCK", "line", "me", 60_000, "WAIT", 0))

    def figure(name):
        return direct.info("atomic_locks")[f"atomic_locks_{name}"]

    before = figure("places_taken_over")
    waiter = threading.Thread(target=wait)
    waiter.start()
    if TIMEOUT < 1:
        eventually("the client has sent again", lambda: figure("places_taken_over") >= before + 2)
    eventually("the client waits", lambda: figure("waiting_clients") == 1)
    direct.execute_command("ATOMIC.UNLOCK", "line", "holder")
    waiter.join()
    assert granted[0][0] == 1 and granted[0][3] == 1, granted


a_plain_counter_counts_twice()
a_counter_inside_idem_counts_once()
a_lock_is_acquired_once()
permits_are_acquired_once()
a_request_is_begun_and_ended_once()
leased_work_is_not_lost()
a_wait_that_outlasts_the_timeout_of_the_client_is_granted()
print("redis-py", redis.__version__)
