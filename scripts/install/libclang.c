/* Exits with 0 if the libclang in the first argument can parse what bindgen parses: a header that includes those of the C library. The
 * runtime library alone cannot, since the compiler's own headers (stddef.h) are in another package. The other arguments are the
 * compiler's. */

#include <dlfcn.h>
#include <stdio.h>

struct source { const char *name, *text; unsigned long length; };

int main(int count, char **arguments) {
    static const char text[] = "#include <sys/types.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n";
    struct source source = {"probe.h", text, sizeof text - 1};
    void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!library) return 1;
    void *(*create)(int, int) = (void *(*)(int, int))dlsym(library, "clang_createIndex");
    void *(*parse)(void *, const char *, char **, int, struct source *, unsigned, unsigned) =
        (void *(*)(void *, const char *, char **, int, struct source *, unsigned, unsigned))dlsym(library, "clang_parseTranslationUnit");
    unsigned (*diagnostics)(void *) = (unsigned (*)(void *))dlsym(library, "clang_getNumDiagnostics");
    if (!create || !parse || !diagnostics) return 1;
    void *unit = parse(create(0, 1), "probe.h", arguments + 2, count - 2, &source, 1, 0);
    return !unit || diagnostics(unit) > 0;
}
