/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may do what, decided at one place, of plain data: what a request is about, in Kubernetes' words, and a role.
 * What no rule allows is denied. Pure.
 */
#ifndef LEAT_BROKER_API_ROLES_H
#define LEAT_BROKER_API_ROLES_H

#include "buf.h"
#include "slice.h"
#include "tokens.h"

#define ACCESS_WORD_MAX 253
#define ACCESS_LEAT_GROUP "leat.dev" /* the API group that leat's own pages count as */

/* What is asked for (Kubernetes: "Authorization Overview", request attributes). */
struct access_request {
    char verb[ACCESS_WORD_MAX + 1]; /* "list" */
    struct slice path;              /* a page that is no resource: then only the verb counts beside it. Borrowed */
    char group[ACCESS_WORD_MAX + 1], resource[ACCESS_WORD_MAX + 1], subresource[ACCESS_WORD_MAX + 1];
    char namespace_name[ACCESS_WORD_MAX + 1], name[ACCESS_WORD_MAX + 1];
    bool namespaced; /* it is of a kind whose objects lie in namespaces */
};

/* What a request to the API means, from its method, path and query; always something: of what nothing is known, the
 * path counts alone. `r->path` borrows of `path`. */
void access_request_read(struct slice method, struct slice path, struct slice query, struct access_request *r);

/* Whether objects of a kind lie in namespaces; `fallback` when there is no such kind. */
bool access_kind_is_namespaced(const char *group, const char *resource, bool fallback);

/* Whether a role, in a namespace ("": in all), may do it. */
bool access_allows(enum role role, const char *namespace_name, const struct access_request *r);
/* The rules of a role as members of a SubjectRulesReviewStatus: "resourceRules":[..],"nonResourceRules":[..]. They hold
 * in the namespace of the token ("": in all). */
void access_rules_put(enum role role, const char *namespace_name, struct buf *out);

#endif
