/* SPDX-License-Identifier: Apache-2.0
 *
 * What `leat wait --for` says, and whether an object is so. Pure.
 */
#ifndef LEAT_CLI_WAIT_WISH_H
#define LEAT_CLI_WAIT_WISH_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#define WISH_TEXT_MAX 512

struct wish {
    enum { FOR_CONDITION, FOR_DELETE, FOR_CREATE, FOR_PATH } of;
    char name[WISH_TEXT_MAX];  /* of a condition, or a path */
    char value[WISH_TEXT_MAX]; /* that it is to have; "" of a path: any */
};

/* "condition=NAME[=VALUE]", "jsonpath={.a.b}[=VALUE]" (the braces and the first dot may be missing), "delete",
 * "create". NULL: it was read; else what is wrong with it. */
const char *wish_read(const char *text, struct wish *w);

/* Whether the object (NULL: there is none) is as it should be; else what it is instead, into `why`. -1: it never will.
 */
int wish_met(const struct wish *w, const cJSON *object, char *why, size_t size);

#endif
