/* SPDX-License-Identifier: Apache-2.0
 *
 * Server-side apply on trees (Kubernetes, "Server-Side Apply"): what an applied object makes of the present one, and
 * what goes since nobody applies it any more. Pure; nothing but the trees is the caller's.
 */
#ifndef LEAT_BROKER_API_APPLY_H
#define LEAT_BROKER_API_APPLY_H

#include "shape.h"

/* Puts the applied object's values into `target`: mappings and divided lists merge, everything else replaces. Elements
 * of lists stand in the order in which they are applied, others between them as they stood. What no schema knows is
 * put in too: the reader of the result tells of it. ERR_NOMEM: `target` is somewhere on the way. */
enum err apply_merge(struct fields_work *w, const struct shape *s, cJSON *target, const cJSON *applied) must_check;

/* Takes away what is in `gone` from `target`; of a mapping or list that is divided only its parts, and itself when none
 * is left. ERR_NOMEM likewise. */
enum err apply_remove(struct fields_work *w, const struct shape *s, cJSON *target,
                      const struct fields *gone) must_check;

#endif
