/* Values and lists. */
#include "floor.h"

/* Sets the key to `next` if it holds `expected`, and removes its TTL. */
static int compare_and_set(Ctx *ctx, Str *name, Str *expected, Str *next) {
  Key *key = open_key(ctx, name);
  int type = RedisModule_KeyType(key);
  size_t length, size;
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  if (type != REDISMODULE_KEYTYPE_STRING) return wrong_type(ctx, key);
  RedisModule_StringPtrLen(expected, &size);
  if (RedisModule_ValueLength(key) != size) return unchanged(ctx, key, 0);
  const char *text = RedisModule_StringPtrLen(next, &size);
  char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
  if (!equal(value, length, expected)) return unchanged(ctx, key, 0);
  if (length == size) {
    overwrite(key, text, size, length);
    RedisModule_SetExpire(key, REDISMODULE_NO_EXPIRE);
  } else {
    RedisModule_StringSet(key, next);
  }
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "SET", "ss", name, next);
  changed(ctx, name, REDISMODULE_NOTIFY_STRING, "set");
  return RedisModule_ReplyWithLongLong(ctx, 1);
}

/* CAS key old new */
int cas(Ctx *ctx, Str **argv, int argc) {
  return argc == 4 ? compare_and_set(ctx, argv[1], argv[2], argv[3]) : RedisModule_WrongArity(ctx);
}

/* SET key value IFEQ old */
int set(Ctx *ctx, Str **argv, int argc) {
  if (argc != 5) return RedisModule_WrongArity(ctx);
  return is(argv[3], "IFEQ") ? compare_and_set(ctx, argv[1], argv[4], argv[2]) : bad_argument(ctx);
}

/* CAD key old */
int cad(Ctx *ctx, Str **argv, int argc) {
  if (argc != 3) return RedisModule_WrongArity(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  size_t length;
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  if (type != REDISMODULE_KEYTYPE_STRING) return wrong_type(ctx, key);
  RedisModule_StringPtrLen(argv[2], &length);
  if (RedisModule_ValueLength(key) != length) return unchanged(ctx, key, 0);
  char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
  if (!equal(value, length, argv[2])) return unchanged(ctx, key, 0);
  RedisModule_DeleteKey(key);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "DEL", "s", argv[1]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_GENERIC, "del");
  return RedisModule_ReplyWithLongLong(ctx, 1);
}

/* GETORSET key value EX seconds */
int getorset(Ctx *ctx, Str **argv, int argc) {
  long long seconds;
  if (argc != 5) return RedisModule_WrongArity(ctx);
  if (!is(argv[3], "EX") || !integer(argv[4], &seconds) || seconds < 1) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_EMPTY) {
    put_until(ctx, argv[1], key, argv[2], clock_us() / 1000 + seconds * 1000);
    RedisModule_ReplyWithArray(ctx, 2);
    RedisModule_ReplyWithLongLong(ctx, 1);
    return RedisModule_ReplyWithString(ctx, argv[2]);
  }
  if (type != REDISMODULE_KEYTYPE_STRING) return wrong_type(ctx, key);
  size_t length;
  char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
  RedisModule_ReplyWithArray(ctx, 2);
  RedisModule_ReplyWithLongLong(ctx, 0);
  RedisModule_ReplyWithStringBuffer(ctx, value, length);
  RedisModule_CloseKey(key);
  return OK;
}

/* ONCE key PX ms VALUE value */
int once(Ctx *ctx, Str **argv, int argc) {
  long long ms;
  if (argc != 6) return RedisModule_WrongArity(ctx);
  if (!is(argv[2], "PX") || !integer(argv[3], &ms) || ms < 1 || !is(argv[4], "VALUE")) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  RedisModule_ReplyWithArray(ctx, 3);
  if (type == REDISMODULE_KEYTYPE_EMPTY) {
    put_until(ctx, argv[1], key, argv[5], clock_us() / 1000 + ms);
    RedisModule_ReplyWithLongLong(ctx, 1);
    RedisModule_ReplyWithLongLong(ctx, ms);
    return RedisModule_ReplyWithString(ctx, argv[5]);
  }
  size_t length = 0;
  char *value = type == REDISMODULE_KEYTYPE_STRING ? RedisModule_StringDMA(key, &length, REDISMODULE_READ) : "";
  RedisModule_ReplyWithLongLong(ctx, 0);
  RedisModule_ReplyWithLongLong(ctx, RedisModule_GetExpire(key));
  RedisModule_ReplyWithStringBuffer(ctx, value, length);
  RedisModule_CloseKey(key);
  return OK;
}

/* PUSH key RIGHT length VALUES value: drops the oldest elements beyond the length. */
int push(Ctx *ctx, Str **argv, int argc) {
  long long limit, dropped = 0;
  if (argc != 6) return RedisModule_WrongArity(ctx);
  if (!is(argv[2], "RIGHT") || !integer(argv[3], &limit) || limit < 1 || !is(argv[4], "VALUES")) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_LIST) return wrong_type(ctx, key);
  RedisModule_ListPush(key, REDISMODULE_LIST_TAIL, argv[5]);
  long long length = RedisModule_ValueLength(key);
  for (; length > limit; length--, dropped++) RedisModule_FreeString(ctx, RedisModule_ListPop(key, REDISMODULE_LIST_HEAD));
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "RPUSH", "ss", argv[1], argv[5]);
  if (dropped) RedisModule_Replicate(ctx, "LPOP", "sl", argv[1], dropped);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_LIST, "rpush");
  if (dropped) event(ctx, argv[1], REDISMODULE_NOTIFY_LIST, "lpop");
  return REPLY(length, dropped);
}

/* POP key LEFT */
int pop(Ctx *ctx, Str **argv, int argc) {
  if (argc != 3) return RedisModule_WrongArity(ctx);
  if (!is(argv[2], "LEFT")) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_LIST) return wrong_type(ctx, key);
  Str *value = type == REDISMODULE_KEYTYPE_LIST ? RedisModule_ListPop(key, REDISMODULE_LIST_HEAD) : NULL;
  int emptied = value && RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY;
  RedisModule_CloseKey(key);
  if (!value) return RedisModule_ReplyWithArray(ctx, 0);
  RedisModule_Replicate(ctx, "LPOP", "s", argv[1]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_LIST, "lpop");
  if (emptied) event(ctx, argv[1], REDISMODULE_NOTIFY_GENERIC, "del");
  RedisModule_ReplyWithArray(ctx, 1);
  RedisModule_ReplyWithString(ctx, value);
  RedisModule_FreeString(ctx, value);
  return OK;
}
