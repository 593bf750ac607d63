/* Stands before the C library: the number-th system call on what lies below a folder fails.
 *
 * What is to fail is read from a file that all processes of a run map, FAULTS_STATE, and may change at any time.
 * Calls are written to the file FAULTS_LOG, if there is one, each as a line of its name and what it is about.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* As STATE in faults.py has it. */
static struct state {
    long number;     /* of the call that fails, counted from 1; 0: none fails, and none is counted */
    long count;      /* calls so far */
    long error;      /* its errno; 0: reads and writes transfer half of what they were asked for */
    long persistent; /* whether the calls after it fail too */
    char calls[256]; /* the names of those that count, each between spaces */
    char folder[256];
    char hit[512]; /* the first call that failed */
} *state;
static int log_file = -1;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("FAULTS_STATE");
    int descriptor = path ? open(path, O_RDWR) : -1;
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped != MAP_FAILED) state = mapped;
    path = getenv("FAULTS_LOG");
    if (path) log_file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
}

static void note(const char *call, const char *path)
{
    if (log_file >= 0 && !strncmp(path, state->folder, strlen(state->folder))) dprintf(log_file, "%s %s\n", call, path);
}

static int fails(const char *call, const char *path)
{
    char name[32];
    if (!state) return 0;
    note(call, path);
    if (!state->number || strncmp(path, state->folder, strlen(state->folder))) return 0;
    snprintf(name, sizeof name, " %s ", call);
    if (!strstr(state->calls, name)) return 0;
    long turn = __atomic_add_fetch(&state->count, 1, __ATOMIC_SEQ_CST);
    if (turn < state->number || (turn > state->number && !state->persistent)) return 0;
    if (turn == state->number) snprintf(state->hit, sizeof state->hit, "%s %s", call, path);
    errno = (int)state->error;
    return 1;
}

static int descriptor_fails(const char *call, int descriptor)
{
    char link[64], path[4096];
    if (!state || (!state->number && log_file < 0)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...)            \
    {                                                     \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        if (fails("open", path)) return -1;               \
        return REAL(name)(path, flags, mode);             \
    }
#define OPENAT(name)                                      \
    int name(int folder, const char *path, int flags, ...) \
    {                                                     \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        if (fails("open", path)) return -1;               \
        return REAL(name)(folder, path, flags, mode);     \
    }
/* A call whose first argument names what it is about: a path, or a descriptor. */
#define ON_PATH(call, type, failure, name, parameters, arguments, path) \
    type name parameters                                  \
    {                                                     \
        return fails(call, path) ? failure : REAL(name) arguments; \
    }
#define ON_DESCRIPTOR(call, type, name, parameters, arguments, descriptor) \
    type name parameters                                  \
    {                                                     \
        return descriptor_fails(call, descriptor) ? -1 : REAL(name) arguments; \
    }
#define TRANSFER(call, name, buffer_type, position, passed) \
    ssize_t name(int descriptor, buffer_type buffer, size_t size position) \
    {                                                     \
        if (descriptor_fails(call, descriptor)) {         \
            if (errno) return -1;                         \
            size = (size + 1) / 2;                        \
        }                                                 \
        return REAL(name)(descriptor, buffer, size passed); \
    }
#define COMMA ,

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
TRANSFER("read", read, void *, , )
TRANSFER("write", write, const void *, , )
TRANSFER("read", pread, void *, COMMA off_t offset, COMMA offset)
TRANSFER("read", pread64, void *, COMMA off64_t offset, COMMA offset)
TRANSFER("write", pwrite, const void *, COMMA off_t offset, COMMA offset)
TRANSFER("write", pwrite64, const void *, COMMA off64_t offset, COMMA offset)
ON_DESCRIPTOR("fsync", int, fsync, (int descriptor), (descriptor), descriptor)
ON_DESCRIPTOR("fsync", int, fdatasync, (int descriptor), (descriptor), descriptor)
ON_DESCRIPTOR("syncfs", int, syncfs, (int descriptor), (descriptor), descriptor)
ON_DESCRIPTOR("ftruncate", int, ftruncate, (int descriptor, off_t size), (descriptor, size), descriptor)
ON_DESCRIPTOR("ftruncate", int, ftruncate64, (int descriptor, off64_t size), (descriptor, size), descriptor)
ON_DESCRIPTOR("lseek", off_t, lseek, (int descriptor, off_t offset, int from), (descriptor, offset, from), descriptor)
ON_DESCRIPTOR("lseek", off64_t, lseek64, (int descriptor, off64_t offset, int from), (descriptor, offset, from), descriptor)
ON_DESCRIPTOR("fstat", int, fstat, (int descriptor, struct stat *status), (descriptor, status), descriptor)
ON_DESCRIPTOR("fstat", int, fstat64, (int descriptor, struct stat64 *status), (descriptor, status), descriptor)
ON_DESCRIPTOR("flock", int, flock, (int descriptor, int operation), (descriptor, operation), descriptor)
ON_PATH("stat", int, -1, stat, (const char *path, struct stat *status), (path, status), path)
ON_PATH("stat", int, -1, stat64, (const char *path, struct stat64 *status), (path, status), path)
ON_PATH("stat", int, -1, lstat, (const char *path, struct stat *status), (path, status), path)
ON_PATH("stat", int, -1, lstat64, (const char *path, struct stat64 *status), (path, status), path)
ON_PATH("unlink", int, -1, unlink, (const char *path), (path), path)
ON_PATH("mkdir", int, -1, mkdir, (const char *path, mode_t mode), (path, mode), path)
ON_PATH("opendir", DIR *, NULL, opendir, (const char *path), (path), path)

int rename(const char *path, const char *new)
{
    int failed = fails("rename", path);
    if (!failed) note("name", new);
    return failed ? -1 : REAL(rename)(path, new);
}

/* Linux closes a descriptor even if it says that it failed. */
int close(int descriptor)
{
    int failed = descriptor_fails("close", descriptor), error = errno;
    int result = REAL(close)(descriptor);
    if (!failed) return result;
    errno = error;
    return -1;
}
