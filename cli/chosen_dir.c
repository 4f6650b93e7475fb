/* SPDX-License-Identifier: Apache-2.0
 *
 * The data directory's place: --data-dir, else what systemd gives (StateDirectory=), else the XDG state folder.
 */
#include "chosen_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *environment(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] == '/' ? v : NULL; /* both standards have a path that is not absolute ignored */
}

char *chosen_dir(const struct command *c, const char *given)
{
    const char *state = environment("STATE_DIRECTORY"), *xdg = environment("XDG_STATE_HOME"),
               *home = environment("HOME");
    char *path = NULL;
    int n = -1;
    if (given && !*given) {
        usage_error(c, "the data directory's path is empty.");
        return NULL;
    }
    if (!given && !state && !xdg && !home) {
        fail(c, EXIT_CODE_USAGE,
             "there is no data directory: neither $STATE_DIRECTORY nor $XDG_STATE_HOME nor $HOME is set. Name one.");
        return NULL;
    }
    if (given)
        n = asprintf(&path, "%s", given);
    else if (state) /* may be a list; the first is ours */
        n = asprintf(&path, "%.*s", (int)strcspn(state, ":"), state);
    else
        n = asprintf(&path, "%s/leat", xdg ? xdg : home);
    if (n >= 0 && !given && !state && !xdg) {
        free(path);
        n = asprintf(&path, "%s/.local/state/leat", home);
    }
    if (n >= 0)
        return path;
    fail(c, EXIT_CODE_FAILED, "out of memory.");
    return NULL;
}
