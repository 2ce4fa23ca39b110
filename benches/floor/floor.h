#ifndef FLOOR_H
#define FLOOR_H

/* The floor that `make count` compares with: commands of the module as an author would write them by hand.
 *
 * Each command takes the arguments that `make count` sends to the module's command of the same name, and gives a reply of the same shape.
 * It makes the shortest correct sequence of API calls: it checks the type and its arguments, writes in place where the length permits,
 * replicates the effect with an absolute time, signals the key and sends the events. It has no other options, no waiters, no BIND and
 * no statistics, and its stored formats are its own. */
#include "redismodule.h"

#include <string.h>
#include <strings.h>
#include <sys/time.h>

typedef RedisModuleCtx Ctx;
typedef RedisModuleKey Key;
typedef RedisModuleString Str;

#define OK REDISMODULE_OK
#define DIGITS 24

/* A word that is replicated often. */
extern Str *PXAT;

/* The commands. */
int cas(Ctx *ctx, Str **argv, int argc);
int set(Ctx *ctx, Str **argv, int argc);
int cad(Ctx *ctx, Str **argv, int argc);
int getorset(Ctx *ctx, Str **argv, int argc);
int once(Ctx *ctx, Str **argv, int argc);
int incrby(Ctx *ctx, Str **argv, int argc);
int transfer(Ctx *ctx, Str **argv, int argc);
int hcas(Ctx *ctx, Str **argv, int argc);
int hincrby(Ctx *ctx, Str **argv, int argc);
int push(Ctx *ctx, Str **argv, int argc);
int pop(Ctx *ctx, Str **argv, int argc);
int ratelimit(Ctx *ctx, Str **argv, int argc);
int lock(Ctx *ctx, Str **argv, int argc);
int unlock(Ctx *ctx, Str **argv, int argc);
int lockrenew(Ctx *ctx, Str **argv, int argc);
int semacquire(Ctx *ctx, Str **argv, int argc);
int semrelease(Ctx *ctx, Str **argv, int argc);
int zpopdue(Ctx *ctx, Str **argv, int argc);

/* ---- arguments, numbers, time ---- */

static inline int is(const Str *word, const char *name) { return !strcasecmp(RedisModule_StringPtrLen(word, NULL), name); }

static inline int integer(const Str *word, long long *number) { return RedisModule_StringToLongLong(word, number) == OK; }

/* A decimal integer and nothing else. */
static inline int parse(const char *text, size_t length, long long *number) {
  size_t at = length && text[0] == '-';
  long long value = 0;
  if (at == length) return 0;
  for (; at < length; at++) {
    int digit = text[at] - '0';
    if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value)) return 0;
    if (__builtin_sub_overflow(value, digit, &value)) return 0;
  }
  return text[0] == '-' ? (*number = value, 1) : !__builtin_sub_overflow(0, value, number);
}

/* Writes the number to the end of the buffer and returns where it starts. */
static inline char *format(char buffer[DIGITS], long long number, size_t *length) {
  unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
  char *start = buffer + DIGITS;
  do *--start = '0' + rest % 10;
  while (rest /= 10);
  if (number < 0) *--start = '-';
  *length = buffer + DIGITS - start;
  return start;
}

/* Microseconds since the Unix epoch. */
static inline long long clock_us(void) {
  struct timeval now;
  if (RedisModule_CachedMicroseconds) return RedisModule_CachedMicroseconds();
  gettimeofday(&now, NULL);
  return now.tv_sec * 1000000LL + now.tv_usec;
}

/* ---- keys ---- */

static inline Key *open_key(Ctx *ctx, Str *name) { return RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE); }

static inline int wrong_type(Ctx *ctx, Key *key) {
  RedisModule_CloseKey(key);
  return RedisModule_ReplyWithError(ctx, REDISMODULE_ERRORMSG_WRONGTYPE);
}

static inline int bad_argument(Ctx *ctx) { return RedisModule_ReplyWithError(ctx, "ERR syntax error"); }

static inline int unchanged(Ctx *ctx, Key *key, long long reply) {
  RedisModule_CloseKey(key);
  return RedisModule_ReplyWithLongLong(ctx, reply);
}

static inline void event(Ctx *ctx, Str *name, int class, const char *event) { RedisModule_NotifyKeyspaceEvent(ctx, class, event, name); }

static inline void changed(Ctx *ctx, Str *name, int class, const char *text) {
  RedisModule_SignalModifiedKey(ctx, name);
  event(ctx, name, class, text);
}

static inline int equal(const char *bytes, size_t length, const Str *word) {
  size_t other;
  const char *text = RedisModule_StringPtrLen(word, &other);
  return length == other && !memcmp(bytes, text, length);
}

/* Writes to a key that holds a string, and keeps its TTL. */
static inline void overwrite(Key *key, const char *bytes, size_t length, size_t old) {
  if (length != old) RedisModule_StringTruncate(key, length);
  memcpy(RedisModule_StringDMA(key, &old, REDISMODULE_WRITE), bytes, length);
}

/* Sets a key that expires, closes it, and replicates and announces that. */
static inline void put_until(Ctx *ctx, Str *name, Key *key, Str *value, long long until_ms) {
  char buffer[DIGITS];
  size_t length;
  char *text = format(buffer, until_ms, &length);
  RedisModule_StringSet(key, value);
  RedisModule_SetAbsExpire(key, until_ms);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "SET", "sssb", name, value, PXAT, text, length);
  changed(ctx, name, REDISMODULE_NOTIFY_STRING, "set");
  event(ctx, name, REDISMODULE_NOTIFY_GENERIC, "expire");
}

static inline int reply_integers(Ctx *ctx, int count, const long long *numbers) {
  RedisModule_ReplyWithArray(ctx, count);
  for (int i = 0; i < count; i++) RedisModule_ReplyWithLongLong(ctx, numbers[i]);
  return OK;
}
#define REPLY(...) reply_integers(ctx, sizeof((long long[]){__VA_ARGS__}) / sizeof(long long), (long long[]){__VA_ARGS__})

#endif
