/* Preloaded: lets flock, locks of ranges and mmap fail for files below a directory.
   REFUSE="CALL:ERRNO:DIRECTORY;..." with CALL one of flock, lock, mmap. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int refused(const char *call, int fd) {
    const char *wish = getenv("REFUSE");
    char link[64], path[4096];
    if (wish == NULL || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    for (; wish != NULL && *wish; wish = strchr(wish, ';'), wish = wish ? wish + 1 : NULL) {
        char name[16], directory[2048];
        int number;
        if (sscanf(wish, "%15[^:]:%d:%2047[^;]", name, &number, directory) != 3) continue;
        if (strcmp(name, call) == 0 && strncmp(path, directory, strlen(directory)) == 0) return number;
    }
    return 0;
}

#define NEXT(type, name) static type next; if (next == NULL) next = (type)dlsym(RTLD_NEXT, name)

int flock(int fd, int operation) {
    typedef int (*Flock)(int, int);
    NEXT(Flock, "flock");
    int number = refused("flock", fd);
    if (number) { errno = number; return -1; }
    return next(fd, operation);
}

static int is_lock(int command) {
    return command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW
        || command == F_OFD_GETLK;
}

typedef int (*Fcntl)(int, int, ...);

static int control(Fcntl next, int fd, int command, void *argument) {
    int number = is_lock(command) ? refused("lock", fd) : 0;
    if (number) { errno = number; return -1; }
    return next(fd, command, argument);
}

int fcntl(int fd, int command, ...) {
    NEXT(Fcntl, "fcntl");
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(next, fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    NEXT(Fcntl, "fcntl64");
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(next, fd, command, argument);
}

typedef void *(*Mmap)(void *, size_t, int, int, int, off_t);

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    NEXT(Mmap, "mmap");
    int number = flags & MAP_SHARED ? refused("mmap", fd) : 0;
    if (number) { errno = number; return MAP_FAILED; }
    return next(at, length, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    NEXT(Mmap, "mmap64");
    int number = flags & MAP_SHARED ? refused("mmap", fd) : 0;
    if (number) { errno = number; return MAP_FAILED; }
    return next(at, length, protection, flags, fd, offset);
}
