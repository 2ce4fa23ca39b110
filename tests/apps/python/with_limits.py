"""limits: its three strategies with its Redis storage. Each hit is one script."""

import limits
from harness import URL, eventually
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

storage = storage_from_string(URL)
STRATEGIES = (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter)


def hits_are_counted_refused_and_cleared(strategy):
    limiter, limit = strategy(storage), limits.parse("3/hour")
    name = strategy.__name__
    assert limiter.get_window_stats(limit, name, "user").remaining == 3
    assert limiter.hit(limit, name, "user") and limiter.hit(limit, name, "user", cost=2)
    assert not limiter.test(limit, name, "user") and not limiter.hit(limit, name, "user")
    assert limiter.get_window_stats(limit, name, "user").remaining == 0
    assert limiter.get_window_stats(limit, name, "user").reset_time > 0
    # A cost above the limit, and other users.
    assert not limiter.hit(limit, name, "greedy", cost=4)
    assert limiter.hit(limit, name, "other") and limiter.get_window_stats(limit, name, "other").remaining == 2
    limiter.clear(limit, name, "user")
    assert limiter.hit(limit, name, "user", cost=3) and not limiter.hit(limit, name, "user")


def a_window_ends():
    limit = limits.parse("2/second")
    limiters = [strategy(storage) for strategy in STRATEGIES]
    for limiter in limiters:
        # A window may end between the two hits.
        name = type(limiter).__name__
        eventually("a full window", lambda: limiter.hit(limit, name) and limiter.hit(limit, name) and not limiter.hit(limit, name))
    for limiter in limiters:
        eventually("another window", lambda: limiter.hit(limit, type(limiter).__name__))


def a_cost_as_large_as_the_largest_unpack_is_accepted():
    limiter, limit = MovingWindowRateLimiter(storage), limits.parse("12000/hour")
    assert limiter.hit(limit, "many", cost=12000) and not limiter.hit(limit, "many")
    start, entries = storage.get_moving_window(limit.key_for("many"), limit.amount, limit.get_expiry())
    assert entries == 12000 and start > 0


assert storage.check()
for strategy in STRATEGIES:
    hits_are_counted_refused_and_cleared(strategy)
a_window_ends()
a_cost_as_large_as_the_largest_unpack_is_accepted()
storage.storage.mset({storage.prefixed_key(number): 1 for number in range(6000)})
assert storage.reset() > 6000 and storage.reset() == 0
print("limits", limits.__version__)
