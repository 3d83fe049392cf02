/* The wall clock, moved by the seconds that stand in /etc/chaos-clock (none there: not moved).
 *
 * Loaded into every process by /etc/ld.so.preload, since the product gives its servers an
 * environment of their own. The monotonic clock stays as it is: a clock that is set does not move
 * it, and libfaketime can leave it alone only by an environment variable. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void)
{
    static __thread struct timespec read_at;
    static __thread long offset;
    struct timespec now;
    int saved = errno;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    /* Looked up twenty times a second at most: PostgreSQL asks for the time very often. */
    if ((now.tv_sec - read_at.tv_sec) * 1000 + (now.tv_nsec - read_at.tv_nsec) / 1000000 > 50) {
        char text[32] = "";
        int file = open("/etc/chaos-clock", O_RDONLY | O_CLOEXEC);

        offset = 0;
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0)
                offset = atol(text);
            close(file);
        }
        read_at = now;
    }
    errno = saved;
    return offset;
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    int result = syscall(SYS_clock_gettime, id, at);

    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        at->tv_sec += offset_s();
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    int result = syscall(SYS_gettimeofday, at, zone);

    if (result == 0)
        at->tv_sec += offset_s();
    return result;
}

time_t time(time_t *at)
{
    struct timespec now;

    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    now.tv_sec += offset_s();
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}
