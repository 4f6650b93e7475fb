/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the Kubernetes API share: what a request is about (its path), in which form the answer is wanted
 * (Accept), which objects are meant (selectors), and how objects are shown. docs/internals/api.md has the whole.
 * Everything on the control loop.
 */
#ifndef LEAT_BROKER_API_KUBERNETES_H
#define LEAT_BROKER_API_KUBERNETES_H

#include "api.h"
#include "buf.h"

#define API_NAME_MAX 253    /* bytes of a name, a namespace, a group: a DNS-1123 subdomain */
#define API_QUERY_MAX 65536 /* bytes of one parameter of a query, decoded: as long as a request's head may be */
#define API_WARNINGS_MAX 20 /* Warning headers of an answer; more help nobody */
#define API_ETAG_BYTES 20   /* with its quotes and its end */

/* ---- paths (target.c) ---- */

struct api_target {
    const struct kind *kind;
    char namespace_name[API_NAME_MAX + 1]; /* "" when none was in the path */
    char name[API_NAME_MAX + 1];           /* "" for the collection */
    bool status;                           /* the subresource of that name */
};
/* False when the path means nothing here. */
bool api_target_parse(struct slice path, struct api_target *t);
/* "messaging.knative.dev/v1", "v1" */
void api_version_put(const struct kind *k, struct buf *out);
/* "channels.messaging.knative.dev", "secrets" */
void api_words_put(const struct kind *k, struct buf *out);

/* A parameter as a number; `fallback` when it is not there. False: it is none (the request has been answered). */
bool api_query_number(struct http_request *r, const char *name, uint64_t fallback, uint64_t *out);
/* As api_query, of a form (WHATWG URL, application/x-www-form-urlencoded): a plus sign is a space. */
bool api_query_form(const struct http_request *r, const char *name, struct buf *out);
/* Whether a parameter is there and means yes: "true", "1", or without a value. */
bool api_query_yes(const struct http_request *r, const char *name);

/* ---- forms (accept.c) ---- */

/* One entry of an Accept header (RFC 9110 section 12.5.1) with Kubernetes' parameters; weights are not looked at, the
 * first that the server has is taken, as there. Slices are of the header. */
struct api_accept {
    struct slice type, as, group, version;
};
/* The next entry; false at the end. */
bool api_accept_next(struct slice *rest, struct api_accept *out);

struct api_form {
    enum { API_AS_IS, API_TABLE, API_METADATA } as;
    enum { API_ROW_METADATA, API_ROW_OBJECT, API_ROW_NONE } row; /* what a table's rows have beside cells */
    const char *version;                                         /* of meta.k8s.io: "v1" */
};
/* False when no form that is asked for is there: the request has been answered (406). */
bool api_form_read(struct http_request *r, struct api_form *f);

/* ---- showing (render.c) ---- */

/* The object with its owner, of references to its own parts. NULL: no memory. */
cJSON *api_shown(const struct resource *found);
/* A list of what is to be shown, a form at a time: begin, add each, end. */
struct api_listing {
    const struct kind *kind;
    struct api_form form;
    int64_t now_ns; /* wall time, for ages */
    cJSON *tree, *rows;
    bool bare; /* a table without the definitions of its columns: a watch has them once */
};
/* Any of them false: no memory; then only api_listing_fini is left. */
bool api_listing_begin(struct api_listing *l, const struct api *a, const struct kind *kind, const struct api_form *f);
/* `object`: as api_shown has it; borrowed, must outlive the listing. */
bool api_listing_add(struct api_listing *l, const cJSON *object);
/* Sets metadata of the list: `version` is its resourceVersion; `more` (NULL: this is all) the token of what follows,
 * `remaining` how many that are (0: not told). */
bool api_listing_end(struct api_listing *l, uint64_t version, const char *more, size_t remaining);
void api_listing_fini(struct api_listing *l);
/* One object in the form that is wanted: the caller's; `object` must outlive it. NULL: no memory. */
cJSON *api_render(const struct api *a, const struct kind *kind, const struct api_form *f, const cJSON *object);
/* Kubernetes' short text for a span of time: 59s, 2m, 7h59m, 2d, 8y. */
void api_age_put(struct buf *out, int64_t seconds);

/* ---- selectors (selector.c) ---- */

struct api_selector;
/* "a=b,c!=d,e in (f,g),h notin (i),j,!k" of labels. *out NULL: everything matches. ERR_INVALID, ERR_NOMEM with *d. */
enum err api_selector_labels(struct slice text, struct api_selector **out, struct diag *d) must_check;
/* "metadata.name=a,metadata.namespace!=b" of fields; which there are is the kind's matter. Likewise. */
enum err api_selector_fields(struct slice text, const struct kind *kind, struct api_selector **out,
                             struct diag *d) must_check;
/* NULL matches everything. */
bool api_selector_matches(const struct api_selector *s, const cJSON *object);
void api_selector_free(struct api_selector *s);

struct api_selection { /* of a request */
    struct api_selector *labels, *fields;
};
/* Reads labelSelector and fieldSelector; false: the request has been answered (400). */
bool api_selection_read(struct http_request *r, const struct kind *kind, struct api_selection *s);
bool api_selection_matches(const struct api_selection *s, const cJSON *object);
void api_selection_fini(struct api_selection *s);

/* ---- answers (answer.c) ---- */

/* A Status object about one object, with details; causes (taken over) may be NULL. */
void api_status_of(struct http_request *r, int code, const char *reason, const struct api_target *t, cJSON *causes,
                   const char *format, ...) __attribute__((format(printf, 6, 7)));
/* The same about no object: about the parameters of a request ("PatchOptions"), or about nothing (NULL). */
void api_status_options(struct http_request *r, int code, const char *reason, const char *options, cJSON *causes,
                        const char *format, ...) __attribute__((format(printf, 6, 7)));
/* A list with one cause; NULL without memory, which only means less detail. */
cJSON *api_causes(const char *reason, const char *message, const char *field);
/* 404 for the target. */
void api_not_found(struct http_request *r, const struct api_target *t);
/* A document that seldom changes: with its ETag, or 304 when the client has it. `type` is its Content-Type;
 * `for_ever`: it lies under the hash of its content. */
void api_document(struct http_request *r, struct slice type, struct slice body, bool for_ever);
/* The ETag of a text. */
void api_etag(struct slice body, char out[API_ETAG_BYTES]);

/* The error of a write as Kubernetes says it, with details. */
void api_refuse_of(struct http_request *r, const struct api_target *t, enum err e, const struct diag *d);
/* 422 for a parameter, or an option in a body, whose value is none of those that there are. Always false. */
bool api_refuse_parameter(struct http_request *r, const char *name, struct slice value);
/* Reads dryRun; false: the request has been answered (422). */
bool api_dry_run(struct http_request *r, bool *dry);
/* The table was written to, by a write of this kind: Events are nothing to a plan (resources.c). */
void api_changed(struct api *a, const struct kind *kind);
/* Whether an object is to go now: it was deleted, and has no finalizer left (remove.c). */
bool api_is_finalized(const struct resource *r);

/* ---- pages ---- */

/* GET /, /api, /apis, /apis/GROUP, /api/v1, /apis/GROUP/VERSION (discovery.c); false when the path is none of them. */
bool api_discovery(struct api *a, struct http_request *r, struct slice path);
/* GET /openapi/v2, /openapi/v3, /openapi/v3/apis/GROUP/VERSION (openapi.c); false likewise. */
bool api_openapi(struct api *a, struct http_request *r, struct slice path);
/* POST, PUT and PATCH (write.c), DELETE (remove.c); false when the method is none that the target has. */
bool api_write(struct api *a, struct http_request *r, const struct api_target *t);
bool api_remove(struct api *a, struct http_request *r, const struct api_target *t);
/* POST of a review of one's own rights (review.c); false when it is none. */
bool api_review(struct api *a, struct http_request *r);
/* A watch of a collection, or of one object (watch.c). */
void api_watch(struct api *a, struct http_request *r, const struct api_target *t, const struct api_form *f);
/* From now on changes are kept, so that a watch can begin at any version that is given from here on. False: no memory.
 */
bool api_watches_begin(struct api *a, struct loop *loop);
/* A list (list.c). */
void api_list(struct api *a, struct http_request *r, const struct api_target *t, const struct api_form *f);

#endif
