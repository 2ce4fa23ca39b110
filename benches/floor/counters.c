/* Counters, and fields of hashes. */
#include "floor.h"

/* The number in the key, which a missing key has as 0; `length` is that of its text. */
static int stored(Key *key, int type, long long *number, size_t *length) {
  *number = *length = 0;
  if (type == REDISMODULE_KEYTYPE_EMPTY) return 1;
  char *text = RedisModule_StringDMA(key, length, REDISMODULE_READ);
  return parse(text, *length, number);
}

static void store(Key *key, int type, long long number, size_t old) {
  char buffer[DIGITS];
  size_t length;
  char *text = format(buffer, number, &length);
  if (type != REDISMODULE_KEYTYPE_EMPTY) {
    overwrite(key, text, length, old);
    return;
  }
  Str *value = RedisModule_CreateString(NULL, text, length);
  RedisModule_StringSet(key, value);
  RedisModule_FreeString(NULL, value);
}

/* INCRBY key delta */
int incrby(Ctx *ctx, Str **argv, int argc) {
  long long delta, number;
  size_t length;
  if (argc != 3) return RedisModule_WrongArity(ctx);
  if (!integer(argv[2], &delta)) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_STRING) return wrong_type(ctx, key);
  if (!stored(key, type, &number, &length)) return wrong_type(ctx, key);
  if (__builtin_add_overflow(number, delta, &number)) return unchanged(ctx, key, 0);
  store(key, type, number, length);
  long long left = RedisModule_GetExpire(key);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "INCRBY", "ss", argv[1], argv[2]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_STRING, "set");
  return REPLY(1, number, delta, left);
}

/* TRANSFER from to amount */
int transfer(Ctx *ctx, Str **argv, int argc) {
  long long amount, numbers[2];
  size_t lengths[2];
  Key *keys[2] = {NULL, NULL};
  if (argc != 4) return RedisModule_WrongArity(ctx);
  if (!integer(argv[3], &amount) || amount < 0 || !RedisModule_StringCompare(argv[1], argv[2])) return bad_argument(ctx);
  int sound = 1, types[2];
  for (int i = 0; i < 2; i++) {
    keys[i] = open_key(ctx, argv[1 + i]);
    types[i] = RedisModule_KeyType(keys[i]);
    sound &= types[i] == REDISMODULE_KEYTYPE_EMPTY || types[i] == REDISMODULE_KEYTYPE_STRING;
    sound = sound && stored(keys[i], types[i], &numbers[i], &lengths[i]);
  }
  int enough = sound && numbers[0] >= amount && !__builtin_add_overflow(numbers[1], amount, &numbers[1]);
  if (enough) {
    numbers[0] -= amount;
    for (int i = 0; i < 2; i++) store(keys[i], types[i], numbers[i], lengths[i]);
  }
  for (int i = 0; i < 2; i++) RedisModule_CloseKey(keys[i]);
  if (!sound) return RedisModule_ReplyWithError(ctx, REDISMODULE_ERRORMSG_WRONGTYPE);
  if (enough) {
    RedisModule_Replicate(ctx, "DECRBY", "ss", argv[1], argv[3]);
    RedisModule_Replicate(ctx, "INCRBY", "ss", argv[2], argv[3]);
    for (int i = 0; i < 2; i++) changed(ctx, argv[1 + i], REDISMODULE_NOTIFY_STRING, "set");
  }
  return REPLY(enough, numbers[0], numbers[1]);
}

/* HCAS key field old new */
int hcas(Ctx *ctx, Str **argv, int argc) {
  if (argc != 5) return RedisModule_WrongArity(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  if (type != REDISMODULE_KEYTYPE_HASH) return wrong_type(ctx, key);
  Str *value = NULL;
  RedisModule_HashGet(key, REDISMODULE_HASH_NONE, argv[2], &value, NULL);
  if (!value) return unchanged(ctx, key, -1);
  int same = !RedisModule_StringCompare(value, argv[3]);
  RedisModule_FreeString(ctx, value);
  if (!same) return unchanged(ctx, key, 0);
  RedisModule_HashSet(key, REDISMODULE_HASH_NONE, argv[2], argv[4], NULL);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "HSET", "sss", argv[1], argv[2], argv[4]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_HASH, "hset");
  return RedisModule_ReplyWithLongLong(ctx, 1);
}

/* HINCRBY key field delta */
int hincrby(Ctx *ctx, Str **argv, int argc) {
  long long delta, number = 0;
  if (argc != 4) return RedisModule_WrongArity(ctx);
  if (!integer(argv[3], &delta)) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_HASH) return wrong_type(ctx, key);
  Str *value = NULL;
  RedisModule_HashGet(key, REDISMODULE_HASH_NONE, argv[2], &value, NULL);
  int sound = !value || integer(value, &number);
  if (value) RedisModule_FreeString(ctx, value);
  if (!sound) return wrong_type(ctx, key);
  if (__builtin_add_overflow(number, delta, &number)) return unchanged(ctx, key, 0);
  char buffer[DIGITS];
  size_t length;
  char *text = format(buffer, number, &length);
  value = RedisModule_CreateString(NULL, text, length);
  RedisModule_HashSet(key, REDISMODULE_HASH_NONE, argv[2], value, NULL);
  RedisModule_FreeString(NULL, value);
  long long left = RedisModule_GetExpire(key);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "HINCRBY", "sss", argv[1], argv[2], argv[3]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_HASH, "hincrby");
  return REPLY(1, number, delta, left);
}
