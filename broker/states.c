/* SPDX-License-Identifier: Apache-2.0
 *
 * The sweep at the start. Nobody removes a state when its object is deleted: its source has it open then, and an object
 * of a file that is away for a moment comes back as itself.
 */
#include "states.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "data_dir.h"
#include "log.h"

/* UID, or UID.new: written anew when a crash came. */
static bool is_owned(const struct resource_table *t, const char *file)
{
    const struct resource *r;
    size_t cursor = 0, len = strcspn(file, ".");
    while ((r = resource_next(t, NULL, NULL, &cursor)))
        if (strlen(r->uid) == len && memcmp(r->uid, file, len) == 0)
            return true;
    return false;
}

void states_sweep(const char *data_dir, const struct resource_table *t)
{
    char path[4096], why[100];
    const int64_t now_s = clock_wall_ns(clock_system()) / (int64_t)NS_PER_S;
    snprintf(path, sizeof path, "%s/" DATA_DIR_KUBERNETES, data_dir);
    DIR *folder = opendir(path);
    if (!folder)
        return; /* no such source has ever run here */
    for (const struct dirent *file; (file = readdir(folder));) {
        struct stat st;
        if (fstatat(dirfd(folder), file->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
            now_s - st.st_mtim.tv_sec < STATES_KEPT_S || is_owned(t, file->d_name))
            continue;
        bool gone = unlinkat(dirfd(folder), file->d_name, 0) == 0;
        log_line(gone ? LOG_INFO : LOG_WARN, "source.state_removed", "file=%s text=%s", log_value(file->d_name),
                 gone ? "no object has it any more" : strerror_r(errno, why, sizeof why));
    }
    closedir(folder);
}
