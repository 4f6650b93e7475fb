/* SPDX-License-Identifier: Apache-2.0
 *
 * Up to where a source that runs alone has done its work, in a file, over a restart. One line:
 *
 *     place N of FINGERPRINT
 *
 * The fingerprint is over the parameters of the source: of another schedule, or another cluster, a place says nothing.
 * A new file takes the old one's place whole (write, sync, rename), so a kill at any time leaves one or the other.
 */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "siphash.h"

static uint64_t fingerprint(const struct source_spec *spec)
{
    static const uint64_t key[2] = {0, 0};
    uint64_t h = siphash13(key, slice_str(spec->type));
    for (size_t i = 0; i < spec->param_count; i++) {
        h = h * 31 + siphash13(key, slice_str(spec->params[i].name));
        h = h * 31 + siphash13(key, slice_str(spec->params[i].value));
    }
    return h;
}

enum err runner_state_read(const char *path, const struct source_spec *spec, uint64_t *place, struct diag *d)
{
    unsigned long long n, mark;
    FILE *f = fopen(path, "re");
    *place = 0;
    if (!f && errno == ENOENT)
        return OK;
    if (!f)
        return diag_set(d, ERR_IO, "%.150s cannot be read: %s", path, strerror(errno));
    int found = fscanf(f, "place %llu of %16llx", &n, &mark);
    fclose(f);
    if (found != 2)
        return diag_set(d, ERR_INVALID, "%.100s holds no state of a source; name another file, or remove this one",
                        path);
    if (mark == fingerprint(spec))
        *place = n;
    return OK;
}

enum err runner_state_write(const char *path, const struct source_spec *spec, uint64_t place, struct diag *d)
{
    char made[4096], text[80];
    int n = snprintf(made, sizeof made, "%s.new", path);
    if (n < 0 || n >= (int)sizeof made)
        return diag_set(d, ERR_INVALID, "the path is too long");
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    n = snprintf(text, sizeof text, "place %llu of %016llx\n", (unsigned long long)place,
                 (unsigned long long)fingerprint(spec));
    bool good = fd >= 0 && write(fd, text, (size_t)n) == n && fdatasync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && good) {
        good = false;
        why = errno;
    }
    if (good && rename(made, path) == 0)
        return OK;
    return diag_set(d, ERR_IO, "%.150s cannot be written: %s", good ? path : made, strerror(good ? errno : why));
}
