/* SPDX-License-Identifier: Apache-2.0
 *
 * Patches: what a PATCH makes of an object. Pure functions on trees.
 */
#ifndef LEAT_BROKER_API_PATCH_H
#define LEAT_BROKER_API_PATCH_H

#include <cjson/cJSON.h>

#include "err.h"

#define JSON_PATCH_OPERATIONS_MAX 1000 /* each may walk the whole object, on the control loop */
#define JSON_PATCH_COPIES_MAX                                                                                          \
    (1u << 20) /* bytes that `copy` may add: else a few operations double an object for ever */

/* JSON merge patch (RFC 7396 section 2): null takes a member away, objects merge, everything else replaces. ERR_NOMEM.
 */
enum err merge_patch(cJSON *target, const cJSON *patch) must_check;
/* Strategic merge patch (strategic.c) of an object of one of Kubernetes' own kinds: "Service". ERR_INVALID: the patch
 * is wrong (*d says where), or its lists are too long; ERR_NOMEM. After an error the target is somewhere on the way. */
enum err strategic_patch(cJSON *target, const cJSON *patch, const char *kind, struct diag *d) must_check;
/* JSON patch (RFC 6902). ERR_INVALID: the patch is none (*d says where); ERR_CONFLICT: an operation cannot be done, or
 * a test failed; ERR_NOMEM. After an error the target is somewhere on the way. */
enum err json_patch(cJSON **target, const cJSON *patch, struct diag *d) must_check;

#endif
