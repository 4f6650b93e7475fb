/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of an object while a patch changes many of them: found by a map where a walk for each would cost the
 * square of their number, and kept in their order. Pure.
 */
#ifndef LEAT_BROKER_API_MEMBERS_H
#define LEAT_BROKER_API_MEMBERS_H

#include <cjson/cJSON.h>

#include "map.h"

struct members {
    cJSON *object; /* borrowed */
    bool mapped;
    struct map map; /* name to cJSON */
};
/* For the changes that `patch` (an object) makes. ERR_NOMEM: then nothing is to be closed. */
enum err members_open(struct members *m, cJSON *object, const cJSON *patch) must_check;
void members_close(struct members *m);
/* NULL: there is none. */
cJSON *members_get(const struct members *m, const char *name);
/* In the place of what is there, or as the last one. `value` is taken over, also on failure; NULL is ERR_NOMEM. */
enum err members_put(struct members *m, const char *name, cJSON *value) must_check;
void members_remove(struct members *m, const char *name);

#endif
