/* SPDX-License-Identifier: Apache-2.0
 *
 * To be preloaded into the real process: writes and syncs of the log's segments fail when they are told to, with EIO.
 * Who tells lies outside: the file $DISK_SHIM is mapped by both (tests/lib/disk_faults.py). It counts, too, and knows a
 * file whose sync has failed: a later sync of that file is what must never be.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control {
    uint32_t fail_syncs, fail_writes; /* what is outside sets them */
    uint32_t syncs, syncs_failed, syncs_repeated, writes, writes_failed;
};
static struct control *control;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    dev_t device;
    ino_t inode;
} poisoned[64];
static unsigned n_poisoned;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("DISK_SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    control = p == MAP_FAILED ? NULL : p;
    close(fd);
}

static uint32_t add(uint32_t *counter)
{
    return __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

static int told(const uint32_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST) != 0;
}

static int is_segment(int fd)
{
    char link[40], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = control ? readlink(link, path, sizeof path - 1) : -1;
    return n > 4 && memcmp(path + n - 4, ".seg", 4) == 0;
}

static int sync_file(int fd, long call)
{
    if (!is_segment(fd))
        return (int)syscall(call, fd);
    struct stat st;
    int known = 0, failing = told(&control->fail_syncs);
    add(&control->syncs);
    if (fstat(fd, &st) != 0)
        return -1;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < n_poisoned; i++)
        known |= poisoned[i].device == st.st_dev && poisoned[i].inode == st.st_ino;
    if (failing && !known && n_poisoned < 64)
        poisoned[n_poisoned].device = st.st_dev, poisoned[n_poisoned++].inode = st.st_ino;
    pthread_mutex_unlock(&lock);
    if (known)
        add(&control->syncs_repeated);
    if (!failing)
        return (int)syscall(call, fd);
    add(&control->syncs_failed);
    errno = EIO;
    return -1;
}

int fdatasync(int fd)
{
    return sync_file(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_file(fd, SYS_fsync);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t offset)
{
    if (is_segment(fd)) {
        add(&control->writes);
        if (told(&control->fail_writes)) {
            add(&control->writes_failed);
            errno = EIO;
            return -1;
        }
    }
    return syscall(SYS_pwrite64, fd, from, len, offset);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off_t offset) __attribute__((alias("pwrite")));
