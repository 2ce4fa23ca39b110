/* Rate limits. */
#include "floor.h"

/* What is stored. BUCKET uses the time at which the bucket is full again, FIXED a window and its use, SLIDING also the use before. */
typedef struct {
  char magic[8];
  long long time, used, before;
} Limiter;
static const char BUCKET[8] = "FLbuckt", FIXED[8] = "FLfixed", SLIDING[8] = "FLslide";

typedef struct {
  const char *magic;
  long long limit, refill, period, cost;
} Policy;

typedef struct {
  int allowed;
  long long remaining, retry_ms, reset_ms, until_ms;
} Verdict;

static Verdict bucket(const Policy *policy, Limiter *state, long long now) {
  long long step = policy->period * 1000 / policy->refill, room = step * policy->limit;
  long long full = state->time > now ? state->time : now, next = full + step * policy->cost;
  Verdict verdict = {.allowed = next - now <= room};
  if (verdict.allowed) state->time = full = next;
  verdict.remaining = (room - (full - now)) / step;
  verdict.retry_ms = verdict.allowed ? 0 : (next - now - room + 999) / 1000;
  verdict.reset_ms = (full - now + 999) / 1000;
  verdict.until_ms = (full + 999) / 1000;
  return verdict;
}

static Verdict window(const Policy *policy, Limiter *state, long long now) {
  long long ms = now / 1000, passed = ms - state->time, share = 0;
  int sliding = policy->magic == SLIDING;
  if (!state->time || passed >= policy->period) {
    int adjacent = sliding && state->time && passed < 2 * policy->period;
    state->before = adjacent ? state->used : 0;
    state->time = adjacent ? state->time + policy->period : ms;
    state->used = 0;
    passed = ms - state->time;
  }
  if (sliding) share = state->before * (policy->period - passed) / policy->period;
  long long used = state->used + share;
  Verdict verdict = {.allowed = used + policy->cost <= policy->limit, .reset_ms = (sliding ? 2 : 1) * policy->period - passed};
  if (verdict.allowed) state->used += policy->cost, used += policy->cost;
  verdict.remaining = policy->limit - used;
  verdict.retry_ms = verdict.allowed ? 0 : policy->period - passed;
  verdict.until_ms = ms + verdict.reset_ms;
  return verdict;
}

/* BUCKET capacity refill period-ms [COST n] | FIXED limit window-ms [COST n] | SLIDING limit window-ms [COST n] */
static int policy_of(Str **argv, int argc, Policy *policy) {
  int words = is(argv[2], "BUCKET") ? 6 : 5;
  *policy = (Policy){.magic = words == 6 ? BUCKET : is(argv[2], "FIXED") ? FIXED : SLIDING, .refill = 1, .cost = 1};
  if (policy->magic == SLIDING && !is(argv[2], "SLIDING")) return 0;
  if (argc != words && argc != words + 2) return 0;
  int sound = integer(argv[3], &policy->limit) && integer(argv[words - 1], &policy->period);
  if (words == 6) sound = sound && integer(argv[4], &policy->refill);
  if (argc > words) sound = sound && is(argv[words], "COST") && integer(argv[words + 1], &policy->cost);
  return sound && policy->limit > 0 && policy->refill > 0 && policy->period > 0 && policy->cost > 0;
}

static void write_limiter(Ctx *ctx, Str *name, Key *key, int type, const Limiter *state, long long until_ms) {
  char buffer[DIGITS];
  size_t length;
  char *text = format(buffer, until_ms, &length);
  if (type == REDISMODULE_KEYTYPE_EMPTY) {
    Str *value = RedisModule_CreateString(NULL, (const char *)state, sizeof *state);
    RedisModule_StringSet(key, value);
    RedisModule_FreeString(NULL, value);
  } else {
    overwrite(key, (const char *)state, sizeof *state, sizeof *state);
  }
  RedisModule_SetAbsExpire(key, until_ms);
  RedisModule_CloseKey(key);
  RedisModule_Replicate(ctx, "SET", "sbsb", name, (const char *)state, sizeof *state, PXAT, text, length);
  changed(ctx, name, REDISMODULE_NOTIFY_STRING, "set");
  event(ctx, name, REDISMODULE_NOTIFY_GENERIC, "expire");
}

int ratelimit(Ctx *ctx, Str **argv, int argc) {
  Policy policy;
  Limiter state = {0};
  if (argc < 5) return RedisModule_WrongArity(ctx);
  if (!policy_of(argv, argc, &policy)) return bad_argument(ctx);
  Key *key = open_key(ctx, argv[1]);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_STRING) {
    size_t length;
    char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
    if (length != sizeof state || memcmp(value, policy.magic, sizeof state.magic)) return wrong_type(ctx, key);
    memcpy(&state, value, sizeof state);
  } else if (type != REDISMODULE_KEYTYPE_EMPTY) {
    return wrong_type(ctx, key);
  }
  memcpy(state.magic, policy.magic, sizeof state.magic);
  long long now = clock_us();
  Verdict verdict = policy.magic == BUCKET ? bucket(&policy, &state, now) : window(&policy, &state, now);
  if (verdict.allowed) write_limiter(ctx, argv[1], key, type, &state, verdict.until_ms);
  else RedisModule_CloseKey(key);
  return REPLY(verdict.allowed, policy.limit, verdict.remaining, verdict.retry_ms, verdict.reset_ms, 0);
}
