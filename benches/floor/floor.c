/* The table of the commands, and FLOOR.SNAPSHOT, with which cachegrind writes what it has counted so far. */
#define _GNU_SOURCE
#include "floor.h"

#include <sys/wait.h>
#include <unistd.h>

Str *PXAT;

/* The child ends at once, and cachegrind writes at the end of a process. Its file has the child's number, which is the reply. */
static int snapshot(Ctx *ctx, Str **argv, int argc) {
  (void)argv, (void)argc;
  int status = 0;
  pid_t child = _Fork();
  if (!child) _exit(0);
  if (child < 0 || waitpid(child, &status, 0) != child || status) return RedisModule_ReplyWithError(ctx, "ERR no snapshot");
  return RedisModule_ReplyWithLongLong(ctx, child);
}

typedef struct {
  const char *name;
  RedisModuleCmdFunc run;
  const char *flags;
  int keys;
} Command;

static const Command COMMANDS[] = {
    {"floor.snapshot", snapshot, "", 0},
    {"floor.cas", cas, "write deny-oom fast", 1},
    {"floor.set", set, "write deny-oom fast", 1},
    {"floor.cad", cad, "write fast", 1},
    {"floor.getorset", getorset, "write deny-oom fast", 1},
    {"floor.once", once, "write deny-oom fast", 1},
    {"floor.incrby", incrby, "write deny-oom fast", 1},
    {"floor.transfer", transfer, "write deny-oom fast", 2},
    {"floor.hcas", hcas, "write deny-oom fast", 1},
    {"floor.hincrby", hincrby, "write deny-oom fast", 1},
    {"floor.push", push, "write deny-oom fast", 1},
    {"floor.pop", pop, "write fast", 1},
    {"floor.ratelimit", ratelimit, "write deny-oom fast", 1},
    {"floor.lock", lock, "write deny-oom fast", 1},
    {"floor.unlock", unlock, "write fast", 1},
    {"floor.lockrenew", lockrenew, "write fast", 1},
    {"floor.semacquire", semacquire, "write deny-oom fast", 1},
    {"floor.semrelease", semrelease, "write fast", 1},
    {"floor.zpopdue", zpopdue, "write fast", 1},
};

__attribute__((visibility("default"))) int RedisModule_OnLoad(Ctx *ctx, Str **argv, int argc) {
  (void)argv, (void)argc;
  if (RedisModule_Init(ctx, "floor", 1, REDISMODULE_APIVER_1) != OK) return REDISMODULE_ERR;
  RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED);
  PXAT = RedisModule_CreateString(NULL, "PXAT", 4);
  for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
    const Command *command = &COMMANDS[i];
    int first = command->keys > 0, step = first;
    if (RedisModule_CreateCommand(ctx, command->name, command->run, command->flags, first, command->keys, step) != OK) return REDISMODULE_ERR;
  }
  return OK;
}
