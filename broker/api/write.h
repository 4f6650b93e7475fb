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

/* The answer: the object, with what was left out of it as warnings. */
void write_answer(struct write *w, int status, const struct resource *found);
/* Takes empty parts out of the metadata: Kubernetes keeps none either, and a client's diff would show them. */
void write_forget_empty(cJSON *object);
/* With fieldValidation=Strict; true when the request has been answered. */
bool write_refuse_unknown(struct write *w);
/* 422 with all problems as causes. */
void write_refuse_invalid(struct write *w);
/* 415. */
void write_unknown_format(struct write *w, const char *accepted);
struct slice write_media_type(const struct http_request *r, struct slice fallback);
/* What a patch of the request's type makes of an object, in the target's version: the caller's; NULL when the request
 * has been answered. */
cJSON *write_patched(struct write *w, const struct resource *found, struct slice body);

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

/* As JSON after a write of the object's status: the caller's (free). `status`: what is written; w->applied: as above.
 */
enum err write_manage_status(struct write *w, const struct resource *live, const cJSON *status, char **out,
                             struct diag *d) must_check;

/* ---- status.c ---- */

/* PUT and PATCH of the subresource status. */
void write_status(struct write *w, struct slice body);

/* ---- server_side.c ---- */

/* A body in JSON or YAML, by the bounds of every body; NULL when the request has been answered. */
cJSON *write_read_tree(struct write *w, struct slice body);
/* What is applied, complete; NULL when the request has been answered. */
cJSON *write_read_applied(struct write *w, struct slice body);
/* Applies it to `object`, the present one in the target's version; `m` becomes who owns what. False: the request has
 * been answered. */
bool write_apply_to(struct write *w, struct managed *m, const struct resource *live, cJSON *object,
                    const cJSON *applied);

/* PATCH with application/apply-patch+yaml. */
void write_apply(struct write *w, struct slice body);

#endif
