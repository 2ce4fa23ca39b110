/* Preloaded into the measured server: its random numbers are the same in every run, so each hash table has its collisions in each run. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#pragma GCC visibility push(default)

typedef FILE *Open(const char *, const char *);

static FILE *opened(const char *function, const char *path, const char *mode) {
  return ((Open *)dlsym(RTLD_NEXT, function))(strcmp(path, "/dev/urandom") ? path : "/dev/zero", mode);
}

FILE *fopen(const char *path, const char *mode) { return opened("fopen", path, mode); }

FILE *fopen64(const char *path, const char *mode) { return opened("fopen64", path, mode); }

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
  (void)flags;
  memset(buffer, 1, length);
  return (ssize_t)length;
}
