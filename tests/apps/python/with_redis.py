"""redis-py: its Lock, which uses three scripts, and all uses of `register_script`."""

import asyncio
import threading

import redis
import redis.asyncio
from harness import PORT, refusal
from redis.exceptions import LockError, LockNotOwnedError, NoScriptError, ResponseError

client = redis.Redis(port=PORT)


def one_holder_at_a_time():
    mine, other = (client.lock("resource", timeout=100, sleep=0.01) for _ in range(2))
    assert mine.acquire() and mine.owned() and mine.locked()
    assert not other.acquire(blocking=False)
    assert not other.acquire(blocking_timeout=0.05)
    assert not other.owned() and 50_000 < client.pttl("resource") <= 100_000

    taken = threading.Event()
    waiter = threading.Thread(target=lambda: other.acquire(blocking_timeout=20) and taken.set())
    waiter.start()
    mine.release()
    waiter.join()
    assert taken.is_set() and not mine.owned()
    # By default each thread has its own token.
    assert "not owned" in refusal(LockError, other.release) and client.exists("resource")
    client.delete("resource")

    shared = client.lock("resource", thread_local=False)
    assert shared.acquire()
    releaser = threading.Thread(target=shared.release)
    releaser.start()
    releaser.join()
    assert not shared.locked()


def only_the_owner_can_change_a_lease():
    lock = client.lock("lease", timeout=100)
    with lock:
        assert lock.extend(200) is True
        assert 250_000 < client.pttl("lease") <= 300_000
        assert lock.extend(50, replace_ttl=True) is True
        assert client.pttl("lease") <= 50_000
        assert lock.reacquire() is True
        assert 50_000 < client.pttl("lease") <= 100_000
    assert not client.exists("lease")

    assert lock.acquire(token="first")
    client.set("lease", "second")
    for call in (lambda: lock.extend(10), lock.reacquire, lock.release):
        assert "no longer own" in refusal(LockNotOwnedError, call)
    assert client.get("lease") == b"second" and client.pttl("lease") == -1

    short = client.lock("short", timeout=0.02)
    assert short.acquire()
    next_one = client.lock("short", timeout=100, sleep=0.005)
    assert next_one.acquire(blocking_timeout=20)
    refusal(LockNotOwnedError, short.release)
    next_one.release()


SET_AND_COUNT = """
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return {before, redis.call('INCR', KEYS[2]), redis.status_reply('FINE'), ARGV[2], 3.9, true, false, {ok = 'NESTED'}, 'never seen'}
"""


def a_registered_script_is_loaded_if_the_server_lacks_it():
    script = client.register_script(SET_AND_COUNT)
    assert client.script_exists(script.sha) == [False]
    refusal(NoScriptError, client.evalsha, script.sha, 0)
    first = script(keys=["{s}value", "{s}count"], args=[b"\x00\xff", "x"])
    # A nil ends a Lua array.
    assert first == [None, 1, b"FINE", b"x", 3, 1, None, b"NESTED", b"never seen"], first
    assert client.script_exists(script.sha) == [True]
    assert client.script_load(SET_AND_COUNT) == script.sha
    assert script(keys=["{s}value", "{s}count"], args=["next", ""])[:2] == [b"\x00\xff", 2]
    client.script_flush()
    assert client.script_exists(script.sha) == [False]
    assert script(keys=["{s}value", "{s}count"], args=["", ""])[:2] == [b"next", 3]


def a_script_runs_in_pipelines_and_transactions():
    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    for transaction in (True, False):
        client.script_flush()
        client.delete("sum")
        pipe = client.pipeline(transaction=transaction)
        pipe.set("sum", 1)
        script(keys=["sum"], args=[2], client=pipe)
        script(keys=["sum"], args=[4], client=pipe)
        pipe.get("sum")
        assert pipe.execute() == [True, 3, 7, b"7"]

        pipe.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, "sum")
        script(keys=["sum"], args=[1], client=pipe)
        wrong, right = pipe.execute(raise_on_error=False)
        assert isinstance(wrong, ResponseError) and "wrong kind of value" in str(wrong) and right == 8, (wrong, right)

    def under_watch(pipe):
        pipe.multi()
        script(keys=["sum"], args=[1], client=pipe)

    assert client.transaction(under_watch, "sum") == [9]
    assert script(keys=["sum"], args=[1]) == 10


def errors_are_those_of_the_server():
    assert "wrong kind of value" in refusal(ResponseError, client.eval, "return redis.call('INCR', KEYS[1])", 1, a_list())
    assert client.eval("return redis.pcall('INCR', KEYS[1])['err'] ~= nil", 1, a_list()) == 1
    assert refusal(ResponseError, client.eval, "return redis.error_reply('MINE to see')", 0) == "MINE to see"
    assert "oops" in refusal(ResponseError, client.eval, "error('oops')", 0)
    assert "ompil" in refusal(ResponseError, client.eval, "return return", 0)
    assert "Write commands are not allowed" in refusal(ResponseError, client.eval_ro, "return redis.call('SET', KEYS[1], 1)", 1, "k")
    assert client.eval_ro("return redis.call('LLEN', KEYS[1])", 1, a_list()) == 1
    assert client.evalsha_ro(client.script_load("return #KEYS[1]"), 1, "abc") == 3
    assert "No scripts in execution" in refusal(ResponseError, client.script_kill)
    pipe = client.pipeline()
    pipe.evalsha("0" * 40, 0)
    assert isinstance(pipe.execute(raise_on_error=False)[0], NoScriptError)


def a_list():
    client.delete("list")
    client.rpush("list", "x")
    return "list"


def the_libraries_of_the_server_are_available():
    assert client.eval("return cjson.encode(cjson.decode(ARGV[1]))", 0, '{"a":[1,2.5,null]}') == b'{"a":[1,2.5,null]}'
    assert client.eval("return cmsgpack.unpack(cmsgpack.pack(ARGV[1]))", 0, "x") == b"x"
    assert client.eval("return bit.tohex(bit.band(0xff, -16)) .. struct.pack('>I2', 258)", 0) == b"000000f0\x01\x02"
    assert client.eval("return redis.sha1hex('')", 0) == b"da39a3ee5e6b4b0d3255bfef95601890afd80709"
    answer = redis.Redis(port=PORT, protocol=3).eval("redis.setresp(3) return {redis.call('HGETALL', KEYS[1]), {double = 2.5}}", 1, "none")
    assert answer == [{}, 2.5], answer


async def the_asyncio_client_does_the_same():
    async with redis.asyncio.Redis(port=PORT) as connection:
        script = connection.register_script("return {KEYS[1], ARGV[1]}")
        await connection.script_flush()
        assert await script(keys=["k"], args=["v"]) == [b"k", b"v"]
        async with connection.lock("async", timeout=10) as lock:
            assert await lock.extend(20) and await lock.reacquire()
            assert not await connection.lock("async").acquire(blocking=False)
        assert not await connection.exists("async")


one_holder_at_a_time()
only_the_owner_can_change_a_lease()
a_registered_script_is_loaded_if_the_server_lacks_it()
a_script_runs_in_pipelines_and_transactions()
errors_are_those_of_the_server()
the_libraries_of_the_server_are_available()
asyncio.run(the_asyncio_client_does_the_same())
print("redis-py", redis.__version__)
