/* SPDX-License-Identifier: Apache-2.0
 *
 * What is inside of a manifest: for the loader and for the table that takes its objects.
 */
#ifndef LEAT_BROKER_RESOURCE_MANIFEST_H
#define LEAT_BROKER_RESOURCE_MANIFEST_H

#include "resource.h"
#include "tree.h"

struct manifest {
    struct manifest_item {
        cJSON *object;                     /* owned */
        const struct kind *kind, *written; /* the version that is kept, and the one that it was written in */
        char *file;                        /* owned; NULL when it did not come from one */
        struct place at;
    } * items;
    size_t count, cap;
};

#endif
