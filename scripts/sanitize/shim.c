/* Lets AddressSanitizer watch a server that was not built for it. Loaded before the server's own libraries.
 *
 * Debian's servers allocate with malloc, which the sanitizer replaces, but also with jemalloc's own calls, which it does not know. This
 * library sends those to the same allocator, so the server's memory is watched too. It has the soname of the real jemalloc, so that one is
 * never loaded.
 *
 * The servers load modules with RTLD_DEEPBIND, by which a module would find the C library's allocator before the sanitizer's. So `dlopen`
 * removes that flag. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT(flags) ((size_t)1 << ((flags) & 63)) /* the low six bits are its binary logarithm */
#define ZEROED(flags) ((flags) & 64)                   /* higher bits name arenas and caches: there is one of each here */
#define LEAST 16                                       /* malloc's alignment */

void *dlopen(const char *path, int flags) {
    void *(*next)(const char *, int);
    *(void **)&next = dlsym(RTLD_NEXT, "dlopen");
    return next(path, flags & ~RTLD_DEEPBIND);
}

void *mallocx(size_t size, int flags) {
    void *block = NULL;
    if (ALIGNMENT(flags) <= LEAST) {
        return ZEROED(flags) ? calloc(1, size) : malloc(size);
    }
    if (posix_memalign(&block, ALIGNMENT(flags), size) != 0) {
        return NULL;
    }
    return ZEROED(flags) ? memset(block, 0, size) : block;
}

/* No server resizes a block with a larger alignment than malloc's, or asks for zeroed growth. */
void *rallocx(void *block, size_t size, int flags) {
    if (ALIGNMENT(flags) > LEAST || ZEROED(flags)) {
        abort();
    }
    return realloc(block, size);
}

void dallocx(void *block, int flags) {
    (void)flags;
    free(block);
}

void sdallocx(void *block, size_t size, int flags) {
    (void)size;
    (void)flags;
    free(block);
}

size_t nallocx(size_t size, int flags) {
    (void)flags;
    return size;
}

/* Every setting is accepted, every statistic is 0. */
int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size) {
    (void)name;
    (void)new;
    (void)new_size;
    if (old != NULL && old_size != NULL) {
        memset(old, 0, *old_size);
    }
    return 0;
}

void malloc_stats_print(void (*write)(void *, const char *), void *closure, const char *options) {
    (void)write;
    (void)closure;
    (void)options;
}
