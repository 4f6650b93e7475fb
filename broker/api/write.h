/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that write share (write.c, managing.c, server_side.c, status.c): one request that writes.
 */
#ifndef LEAT_BROKER_API_WRITE_H
#define LEAT_BROKER_API_WRITE_H

#include "kubernetes.h"
#include "managed.h"

struct write {
    struct api *api;
    struct http_request *request;
    const struct api_target *target;
    bool create, dry;
    enum { FIELDS_WARN, FIELDS_STRICT, FIELDS_IGNORE } fields;
    struct problems problems;
    char manager[MANAGER_NAME_MAX + 1]; /* who writes */
    bool named;                         /* by the parameter fieldManager, not by the User-Agent */
    struct managed *applied;            /* who owns which fields after an apply; NULL: it is an ordinary write */
};

/* An object in JSON is checked, and written or tried; the request is answered. */
void write_object(struct write *w, struct slice body);

/* ---- managing.c ---- */

/* Reads fieldManager, or who the User-Agent is; false: the request has been answered. */
bool write_read_manager(struct write *w);
/* Puts into a checked object who owns its fields after this write, as the table takes it. ERR_NOMEM, ERR_TOO_LARGE. */
enum err write_manage(struct write *w, cJSON *object, struct diag *d) must_check;
/* Puts who owns the fields into a copy of an object, as its readers see it: for patches of that. false: no memory. */
bool write_show_managed(const struct resource *found, cJSON *object);
/* The present time as managers have it, in the arena of `work`; "" with work->nomem set without memory. */
const char *write_now(const struct write *w, struct fields_work *work);
/* The one who writes; what an ordinary write changes is told in the version in which objects are kept. `work` keeps
 * its texts. */
struct manager write_manager(const struct write *w, struct fields_work *work, bool apply);

/* ---- server_side.c ---- */

/* PATCH with application/apply-patch+yaml. */
void write_apply(struct write *w, struct slice body);

#endif
