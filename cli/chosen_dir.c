/* SPDX-License-Identifier: Apache-2.0
 *
 * The data directory's place, for verbs that look there.
 */
#include "chosen_dir.h"

#include "data_dir.h"

char *chosen_dir(const struct command *c, const char *given)
{
    struct diag d = {0};
    char *path = NULL;
    if (data_dir_choose(given, &path, &d) != OK)
        usage_error(c, "%s.", d.text);
    return path;
}
