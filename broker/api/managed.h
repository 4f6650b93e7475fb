/* SPDX-License-Identifier: Apache-2.0
 *
 * metadata.managedFields: who owns which fields of an object (meta.k8s.io/v1, ManagedFieldsEntry), read from text,
 * changed by a write or an apply, and written as text again. Between writes there is only the text.
 *
 * As in Kubernetes: an ordinary write takes what it changes, and whoever had it loses it; an apply owns all that it
 * names, shares what has the same value, and must be forced to change what others own. Pure but for the clock of the
 * caller; everything lies in the arena of `work`.
 */
#ifndef LEAT_BROKER_API_MANAGED_H
#define LEAT_BROKER_API_MANAGED_H

#include "apply.h"

#define MANAGER_NAME_MAX 128        /* bytes, as Kubernetes has it */
#define MANAGERS_UPDATE_MAX 10      /* with more, the oldest become one ("ancient-changes"), as in Kubernetes */
#define MANAGERS_MAX 1000           /* of an object, appliers too: each write reads all of them */
#define MANAGED_BYTES_MAX (1 << 20) /* of the text, as of the object itself */

struct manager {
    const char *name, *version; /* "kubectl", "messaging.knative.dev/v1" */
    bool apply;                 /* the operation; else Update */
    const char *subresource;    /* "status" or "" */
    const char *time;           /* RFC 3339, or "" */
    const struct fields *fields;
};

struct managed {
    struct fields_work *work;
    struct manager *list; /* in order as it is written */
    size_t count, cap;
};

void managed_init(struct managed *m, struct fields_work *w);
/* A list as JSON, a tree or its text (NULL or "": nobody). ERR_INVALID: it is none, and nothing has come of it.
 * ERR_NOMEM. */
enum err managed_read(struct managed *m, const cJSON *list) must_check;
enum err managed_read_text(struct managed *m, const char *text) must_check;
/* "" when nobody owns anything; *out is the caller's (free). ERR_TOO_LARGE, ERR_NOMEM with *d. */
enum err managed_put(const struct managed *m, char **out, struct diag *d) must_check;
/* Whether a list is the one that takes all managers away: of one empty entry. */
bool managed_is_reset(const cJSON *list);

/* The one who writes: fields and time are not looked at. The manager's entry of `m` or NULL. */
const struct manager *managed_find(const struct managed *m, const struct manager *who);

/* An ordinary write: from one state to another (NULL: it is new). `now`: its time. ERR_NOMEM, ERR_FULL. */
enum err managed_update(struct managed *m, const struct shape *s, const cJSON *before, const cJSON *after,
                        const struct manager *who, const char *now) must_check;

/* What stands in the way of an apply: one field of one other manager each. */
struct conflict {
    const struct manager *with;
    const char *path;
};
struct conflicts {
    struct conflict *list;
    size_t count, cap;
};
/* `object` (the present one, or an empty mapping) becomes what `applied` makes of it. `forced`: fields that may be
 * taken from others. ERR_CONFLICT with `c` filled: the object and `m` are of no use then. ERR_NOMEM, ERR_FULL. */
enum err managed_apply(struct managed *m, const struct shape *s, cJSON *object, const cJSON *applied,
                       const struct manager *who, bool force, const struct fields *forced,
                       struct conflicts *c) must_check;
/* The applier's time: when something has changed by it. */
void managed_touch(struct managed *m, const struct manager *who, const char *now);
/* "\"kubectl\" with subresource \"status\" using messaging.knative.dev/v1", as Kubernetes tells of a manager. */
void manager_put(const struct manager *m, struct buf *out);

#endif
