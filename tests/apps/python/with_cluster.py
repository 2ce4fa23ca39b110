"""redis-py: its cluster client finds the node for every command from the server's metadata, without a hint."""

from harness import PORT, refusal
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException

client = RedisCluster(host="127.0.0.1", port=PORT)


def key_lookups():
    """The number of COMMAND GETKEYS calls on all nodes."""
    stats = client.info("commandstats", target_nodes=RedisCluster.ALL_NODES)
    # With a single node, the reply is not a map of nodes.
    nodes = stats.values() if all("cmdstat" not in name for name in stats) else [stats]
    return sum(node.get("cmdstat_command|getkeys", {}).get("calls", 0) for node in nodes)


def tags():
    """Hash tags in several slots, so that each node has some of them."""
    return [f"{{{number}}}" for number in range(20)]


def several_keys_at_fixed_positions_go_to_their_node():
    before = key_lookups()
    for tag in tags():
        a, b, c = (f"{tag}{name}" for name in "abc")
        client.set(a, "1")
        client.set(b, "2")
        assert client.execute_command("ATOMIC.MCAS", a, "1", "3", b, "2", "4") == [1, -1]
        assert client.execute_command("ATOMIC.MCAS", a, "3", "5", b, "2", "6") == [0, 1]
        assert [client.get(a), client.get(b)] == [b"3", b"4"]
        assert client.execute_command("ATOMIC.MLOCK", "me", 60000, c, f"{tag}d")[0] == 1
        assert client.execute_command("ATOMIC.MLOCK", "you", 60000, f"{tag}e", c)[:2] == [0, 1]
    assert key_lookups() == before, "the client asked the server for keys"


def counted_keys_go_to_their_node():
    for tag in tags():
        call = ["ATOMIC.MRATELIMIT", 2, f"{tag}l", f"{tag}m", "FIXED", 1, 60000, "FIXED", 5, 60000]
        assert client.execute_command(*call)[0] == 1
        assert client.execute_command("ATOMIC.EVAL", "return KEYS[1]", 1, f"{tag}k") == f"{tag}k".encode()


def keys_of_several_slots_are_refused():
    for call in (["ATOMIC.MCAS", "{1}a", "1", "2", "{2}a", "1", "2"], ["ATOMIC.MLOCK", "me", 1000, "{1}c", "{2}c"]):
        assert "same key slot" in refusal(RedisClusterException, lambda call=call: client.execute_command(*call))


several_keys_at_fixed_positions_go_to_their_node()
counted_keys_go_to_their_node()
keys_of_several_slots_are_refused()
