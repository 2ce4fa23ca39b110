"""redis-py's function calls: load, call, list, dump, delete and restore a library."""

import redis
from harness import PORT, refusal
from redis.exceptions import ResponseError

client = redis.Redis(port=PORT, decode_responses=True)

LIBRARY = """#!lua name=orders
local function take(keys, args)
  local left = redis.call('DECRBY', keys[1], args[1])
  if left < 0 then return redis.error_reply('SOLDOUT ' .. left) end
  return left
end
redis.register_function('take', take)
redis.register_function{
  function_name = 'left',
  callback = function(keys) return redis.call('GET', keys[1]) end,
  flags = {'no-writes'},
}
"""


def a_library_is_loaded_once():
    assert client.function_load(LIBRARY) == "orders"
    assert "already exists" in refusal(ResponseError, client.function_load, LIBRARY)
    assert client.function_load(LIBRARY, replace=True) == "orders"
    refusal(ResponseError, client.function_load, "return 1")
    refusal(ResponseError, client.function_load, "#!lua name=broken\nredis.register_function(")


def its_functions_are_called():
    client.set("stock", 3)
    assert client.fcall("take", 1, "stock", 2) == 1
    assert client.fcall_ro("left", 1, "stock") == "1"
    assert "SOLDOUT -1" in refusal(ResponseError, client.fcall, "take", 1, "stock", 2)
    assert "write" in refusal(ResponseError, client.fcall_ro, "take", 1, "stock", 2)
    assert "unction not found" in refusal(ResponseError, client.fcall, "nobody", 0)
    pipe = client.pipeline()
    pipe.set("stock", 10)
    pipe.fcall("take", 1, "stock", 4)
    assert pipe.execute() == [True, 6]


def libraries_are_listed_dumped_deleted_and_restored():
    assert LIBRARY in str(client.function_list(library="ord*", withcode=True)).replace("\\n", "\n").replace("\\'", "'")
    assert "orders" not in str(client.function_list(library="other*"))
    # A dump is bytes, not text.
    binary = redis.Redis(port=PORT)
    dump = binary.function_dump()
    assert client.function_delete("orders")
    refusal(ResponseError, client.function_delete, "orders")
    refusal(ResponseError, client.fcall, "left", 1, "stock")
    assert binary.function_restore(dump)
    assert client.fcall("left", 1, "stock") == "6"
    refusal(ResponseError, binary.function_restore, dump)
    assert binary.function_restore(dump, "REPLACE")
    assert "LUA" in str(client.function_stats())
    assert "No scripts in execution" in refusal(ResponseError, client.function_kill)
    assert client.function_flush()
    assert client.function_list() == []
    refusal(ResponseError, client.fcall, "left", 1, "stock")


a_library_is_loaded_once()
its_functions_are_called()
libraries_are_listed_dumped_deleted_and_restored()
print("redis-py", redis.__version__)
