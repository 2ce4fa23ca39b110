"""dramatiq: a broker with one script per step; results, retries, delays, dead letters and the messages of a dead worker."""

import dramatiq
from dramatiq.brokers.redis import MAINTENANCE_SCALE, RedisBroker
from dramatiq.rate_limits import ConcurrentRateLimiter, WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend as LimitBackend
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import RedisBackend as ResultBackend
from harness import URL, eventually, refusal

broker = RedisBroker(url=URL, middleware=[dramatiq.middleware.Retries(min_backoff=20, max_backoff=50), dramatiq.middleware.Pipelines(),
                                          Results(backend=ResultBackend(url=URL))])
dramatiq.set_broker(broker)
attempts = []


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor(max_retries=3)
def fail_twice(name):
    attempts.append(name)
    if attempts.count(name) < 3:
        raise ValueError("not yet")


@dramatiq.actor(max_retries=0, store_results=True)
def fail_for_good():
    raise ValueError("never")


def messages_of_a_dead_worker_are_taken_over():
    """A worker without a heartbeat loses its fetched messages to the next worker that runs maintenance."""
    dead = RedisBroker(url=URL)
    dead.declare_queue("left")
    message = dramatiq.Message(queue_name="left", actor_name="add", args=(1, 2), kwargs={}, options={})
    dead.enqueue(message)
    assert next(dead.consume("left")).message_id == message.message_id
    assert dead.do_qsize("left") == 2  # the message, and its pending acknowledgement

    heir = RedisBroker(url=URL, heartbeat_timeout=0, maintenance_chance=MAINTENANCE_SCALE)
    heir.declare_queue("left")
    consumer = heir.consume("left", timeout=10)
    found = eventually("the message of the dead worker", lambda: next(consumer))
    assert found.message_id == message.message_id
    consumer.requeue([found])
    consumer.queued_message_ids.clear()
    again = eventually("the requeued message", lambda: next(consumer))
    consumer.nack(again)
    assert heir.do_qsize("left") == 0 and heir.client.zcard("dramatiq:left.XQ") == 1
    heir.flush("left")
    assert not heir.client.exists("dramatiq:left.XQ")


def a_thousand_messages_are_fetched_at_once():
    broker.declare_queue("many")
    for number in range(1000):
        broker.enqueue(dramatiq.Message(queue_name="many", actor_name="add", args=(number, 0), kwargs={}, options={}))
    consumer = broker.consume("many", prefetch=1000, timeout=10)
    fetched = [next(consumer) for _ in range(1000)]
    assert [message.args[0] for message in fetched] == list(range(1000))
    for message in fetched:
        consumer.ack(message)
    assert broker.do_qsize("many") == 0


def actors_return_fail_and_are_retried():
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
    worker.start()
    numbers = dramatiq.group(add.message(n, n) for n in range(20)).run()
    chain = (add.message(1, 2) | add.message(3) | add.message(4)).run()
    later = add.send_with_options(args=(5, 6), delay=100)
    fail_twice.send("x")
    failing = fail_for_good.send()

    assert list(numbers.get_results(block=True)) == [n + n for n in range(20)]
    assert chain.get_result(block=True) == 10
    assert later.get_result(block=True) == 11
    assert "never" in refusal(ResultFailure, failing.get_result, block=True)
    broker.join("default", interval=10, timeout=10000)
    worker.stop()
    assert attempts == ["x"] * 3
    assert broker.client.zcard("dramatiq:default.XQ") == 1


def limiters_hold_across_workers():
    backend = LimitBackend(url=URL)
    mutex = ConcurrentRateLimiter(backend, "mutex", limit=1)
    with mutex.acquire() as first, mutex.acquire(raise_on_failure=False) as second:
        assert first and not second
    window = WindowRateLimiter(backend, "window", limit=2, window=3600)
    granted = []
    for _ in range(3):
        with window.acquire(raise_on_failure=False) as acquired:
            granted.append(acquired)
    assert granted == [True, True, False]


messages_of_a_dead_worker_are_taken_over()
a_thousand_messages_are_fetched_at_once()
actors_return_fail_and_are_retried()
limiters_hold_across_workers()
print("dramatiq", dramatiq.__version__)
