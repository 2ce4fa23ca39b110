/* Locks, semaphores and work that comes due. */
#include "floor.h"

#include <math.h>

/* What a lock stores before the owner. Its lease is the key's TTL. */
typedef struct {
  char magic[8];
  long long fence;
} Lock;
static const char LOCK[8] = "FLlock1";
#define OWNER_MAX 255

/* A number higher than all before. */
static long long next_fence(long long now) {
  static long long last;
  return last = now > last ? now : last + 1;
}

/* 1: the owner holds it; 0: another does; -1: it is no lock. */
static int held(Key *key, const Str *owner, Lock *lock) {
  size_t length;
  char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
  if (length < sizeof *lock || memcmp(value, LOCK, sizeof LOCK)) return -1;
  memcpy(lock, value, sizeof *lock);
  return equal(value + sizeof *lock, length - sizeof *lock, owner);
}

/* LOCK key owner lease-ms */
int lock(Ctx *ctx, Str **argv, int argc) {
  long long lease;
  size_t length;
  char value[sizeof(Lock) + OWNER_MAX];
  if (argc != 4) return RedisModule_WrongArity(ctx);
  const char *owner = RedisModule_StringPtrLen(argv[2], &length);
  if (!integer(argv[3], &lease) || lease < 1 || !length || length > OWNER_MAX) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  long long now = clock_us();
  Lock state = {.fence = 0};
  if (type == REDISMODULE_KEYTYPE_STRING) {
    int is_held = held(key, argv[2], &state);
    if (is_held < 0) return wrong_type(ctx, key);
    long long left = RedisModule_GetExpire(key);
    RedisModule_CloseKey(key);
    return REPLY(is_held, state.fence, left, is_held, 0);
  }
  if (type != REDISMODULE_KEYTYPE_EMPTY) return wrong_type(ctx, key);
  memcpy(state.magic, LOCK, sizeof LOCK);
  state.fence = next_fence(now);
  memcpy(value, &state, sizeof state);
  memcpy(value + sizeof state, owner, length);
  Str *text = RedisModule_CreateString(NULL, value, sizeof state + length);
  put_until(ctx, argv[1], key, text, now / 1000 + lease);
  RedisModule_FreeString(NULL, text);
  return REPLY(1, state.fence, lease, 1, 0);
}

/* UNLOCK key owner */
int unlock(Ctx *ctx, Str **argv, int argc) {
  Lock state;
  if (argc != 3) return RedisModule_WrongArity(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  int is_held = type == REDISMODULE_KEYTYPE_STRING ? held(key, argv[2], &state) : -1;
  if (is_held < 0) return wrong_type(ctx, key);
  if (!is_held) return unchanged(ctx, key, -1);
  RedisModule_DeleteKey(key);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "DEL", "s", argv[1]);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_GENERIC, "del");
  return RedisModule_ReplyWithLongLong(ctx, 0);
}

/* Sets when a key expires, and closes it. */
static void expire_at(Ctx *ctx, Str *name, Key *key, long long until_ms) {
  char buffer[DIGITS];
  size_t length;
  char *text = format(buffer, until_ms, &length);
  RedisModule_SetAbsExpire(key, until_ms);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "PEXPIREAT", "sb", name, text, length);
}

/* LOCKRENEW key owner lease-ms */
int lockrenew(Ctx *ctx, Str **argv, int argc) {
  long long lease;
  Lock state;
  if (argc != 4) return RedisModule_WrongArity(ctx);
  if (!integer(argv[3], &lease) || lease < 1) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  int is_held = type == REDISMODULE_KEYTYPE_STRING ? held(key, argv[2], &state) : -1;
  if (is_held < 0) return wrong_type(ctx, key);
  if (!is_held) return unchanged(ctx, key, -1);
  expire_at(ctx, argv[1], key, clock_us() / 1000 + lease);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_GENERIC, "expire");
  return RedisModule_ReplyWithLongLong(ctx, lease);
}

/* Removes the leases that have ended. */
static void drop_expired(Ctx *ctx, Str *name, Key *key, long long now_ms) {
  while (RedisModule_ZsetFirstInScoreRange(key, 0, now_ms, 0, 0) == OK && !RedisModule_ZsetRangeEndReached(key)) {
    Str *member = RedisModule_ZsetRangeCurrentElement(key, NULL);
    RedisModule_ZsetRangeStop(key);
    RedisModule_ZsetRem(key, member, NULL);
    RedisModule_Replicate(ctx, "ZREM", "ss", name, member);
    RedisModule_FreeString(ctx, member);
    if (RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) return;
  }
  RedisModule_ZsetRangeStop(key);
}

/* SEMACQUIRE key capacity owner lease-ms */
int semacquire(Ctx *ctx, Str **argv, int argc) {
  long long capacity, lease, in_use = 0;
  if (argc != 5) return RedisModule_WrongArity(ctx);
  if (!integer(argv[2], &capacity) || !integer(argv[4], &lease) || capacity < 1 || lease < 1) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_ZSET) return wrong_type(ctx, key);
  long long now = clock_us(), until_ms = now / 1000 + lease, latest = until_ms;
  if (type == REDISMODULE_KEYTYPE_ZSET) {
    drop_expired(ctx, argv[1], key, now / 1000);
    double score;
    long long end = RedisModule_GetAbsExpire(key);
    if (end > latest) latest = end;
    in_use = RedisModule_ValueLength(key);
    if (in_use >= capacity && RedisModule_ZsetScore(key, argv[3], &score) != OK) {
      RedisModule_CloseKey(key);
      return REPLY(0, 0, in_use, 0, 0);
    }
  }
  char buffer[DIGITS];
  size_t length;
  int flags = 0;
  char *text = format(buffer, until_ms, &length);
  RedisModule_ZsetAdd(key, until_ms, argv[3], &flags);
  if (flags & REDISMODULE_ZADD_ADDED) in_use++;
  RedisModule_Replicate(ctx, "ZADD", "sbs", argv[1], text, length, argv[3]);
  expire_at(ctx, argv[1], key, latest);
  changed(ctx, argv[1], REDISMODULE_NOTIFY_ZSET, "zadd");
  event(ctx, argv[1], REDISMODULE_NOTIFY_GENERIC, "expire");
  return REPLY(1, next_fence(now), in_use, 0, 0);
}

/* Announces that a member was removed, and with the last one the key. */
static void removed(Ctx *ctx, Str *name, Key *key, Str *member) {
  int emptied = RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY;
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "ZREM", "ss", name, member);
  changed(ctx, name, REDISMODULE_NOTIFY_ZSET, "zrem");
  if (emptied) event(ctx, name, REDISMODULE_NOTIFY_GENERIC, "del");
}

/* SEMRELEASE key owner */
int semrelease(Ctx *ctx, Str **argv, int argc) {
  int deleted = 0;
  if (argc != 3) return RedisModule_WrongArity(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_EMPTY) return unchanged(ctx, key, -1);
  if (type != REDISMODULE_KEYTYPE_ZSET) return wrong_type(ctx, key);
  RedisModule_ZsetRem(key, argv[2], &deleted);
  if (!deleted) return unchanged(ctx, key, -1);
  removed(ctx, argv[1], key, argv[2]);
  return RedisModule_ReplyWithLongLong(ctx, 0);
}

/* ZPOPDUE key */
int zpopdue(Ctx *ctx, Str **argv, int argc) {
  double score;
  char buffer[DIGITS];
  if (argc != 2) return RedisModule_WrongArity(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type != REDISMODULE_KEYTYPE_EMPTY && type != REDISMODULE_KEYTYPE_ZSET) return wrong_type(ctx, key);
  Str *member = NULL;
  if (type == REDISMODULE_KEYTYPE_ZSET) {
    RedisModule_ZsetFirstInScoreRange(key, REDISMODULE_NEGATIVE_INFINITE, clock_us() / 1000, 0, 0);
    if (!RedisModule_ZsetRangeEndReached(key)) member = RedisModule_ZsetRangeCurrentElement(key, &score);
    RedisModule_ZsetRangeStop(key);
  }
  if (!member) {
    RedisModule_CloseKey(key);
    return RedisModule_ReplyWithArray(ctx, 0);
  }
  RedisModule_ZsetRem(key, member, NULL);
  removed(ctx, argv[1], key, member);
  RedisModule_ReplyWithArray(ctx, 2);
  RedisModule_ReplyWithString(ctx, member);
  RedisModule_FreeString(ctx, member);
  size_t length;
  if (fabs(score) >= 1e15 || score != floor(score)) return RedisModule_ReplyWithDouble(ctx, score);
  char *text = format(buffer, (long long)score, &length);
  return RedisModule_ReplyWithStringBuffer(ctx, text, length);
}
