/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of one feed in a file: "FINGERPRINT CONTEXT", hexadecimal and base64, and behind that line what
 * feedlet_left.c has. The context is what the feedlet wrote, whatever that is: only the feedlet reads it.
 */
#include "feedlet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "siphash.h"

#define STATE_MAX 20000 /* bytes: a termination log has 4 KiB in Kubernetes; more than four times that as base64 */

uint64_t feedlet_fingerprint(const struct source_spec *spec)
{
    static const uint64_t key[2] = {0, 0};
    uint64_t h = 0;
    for (size_t i = 0; i < spec->param_count; i++) {
        h = h * 31 + siphash13(key, slice_str(spec->params[i].name));
        h = h * 31 + siphash13(key, slice_str(spec->params[i].value));
    }
    return h;
}

enum err feedlet_state_read(const char *path, struct feedlet_state *out, struct diag *d)
{
    *out = (struct feedlet_state){0};
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT)
        return OK;
    if (!f)
        return diag_set(d, ERR_IO, "%.200s cannot be read: %s", path, strerror(errno));
    unsigned long long mark;
    char *text = calloc(1, STATE_MAX + 1);
    int found = text ? fscanf(f, "%16llx %20000s", &mark, text) : 0;
    fclose(f);
    if (found < 1) {
        free(text);
        return text ? diag_set(d, ERR_CORRUPT, "%.200s is damaged; remove it when nothing of that feed runs any more",
                               path)
                    : ERR_NOMEM;
    }
    *out = (struct feedlet_state){mark, text};
    return OK;
}

static bool write_all(int fd, struct slice text)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.ptr, text.len);
        if (n < 0 && errno != EINTR)
            return false;
        text = slice_from(text, n > 0 ? (size_t)n : 0);
    }
    return true;
}

static enum err write_file(const char *path, struct slice text, struct diag *d)
{
    char made[4096];
    int n = snprintf(made, sizeof made, "%s.new", path);
    int fd = n < (int)sizeof made ? open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    bool good = fd >= 0 && write_all(fd, text) && fdatasync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        good = false;
    if (good && rename(made, path) == 0)
        return OK;
    return diag_set(d, ERR_IO, "%.200s cannot be written: %s", path, strerror(errno));
}

enum err feedlet_state_write(const char *path, const struct feedlet_state *state, const struct source_spec *spec,
                             struct diag *d)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    buf_printf(&b, "%016llx %s\n", (unsigned long long)state->fingerprint, state->context);
    feedlet_left_put(&b, spec);
    enum err e = buf_error(&b);
    if (!e)
        e = write_file(path, buf_slice(&b), d);
    else
        diag_set(d, e, "out of memory");
    buf_fini(&b);
    return e;
}
