/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces that nobody has made, and that are there all the same: `default`, and those in which objects lie (Events
 * apart, which tell of objects). They are in no table and no store. Who reads finds them among the others, in the
 * order of names; who watches is told of each as it comes and goes; a write makes one of the others of it. Control
 * loop.
 */
#ifndef LEAT_BROKER_API_NAMESPACES_H
#define LEAT_BROKER_API_NAMESPACES_H

#include "journal.h"

struct namespaces;
/* Looks at what is in the table, and listens to it from now on: all that happens goes on into the journal, together
 * with what comes of it here. `wall_ns`: the present time. NULL: no memory. */
struct namespaces *namespaces_new(struct resource_table *table, struct journal *journal, int64_t wall_ns);
/* Listens no more; NULL is fine. Before the table and the journal are freed. */
void namespaces_free(struct namespaces *n);

/* Those of the table, and where the kind is Namespace what else there is; else these are resource_get, resource_next
 * and resource_behind, with a cursor of their own. `n` may be NULL. */
const struct resource *namespaces_get(const struct namespaces *n, const struct resource_table *t,
                                      const struct kind *kind, const char *namespace_name, const char *name);
const struct resource *namespaces_next(const struct namespaces *n, const struct resource_table *t,
                                       const struct kind *kind, const char *namespace_name, uint64_t *cursor);
uint64_t namespaces_behind(const struct namespaces *n, const struct resource_table *t, const struct kind *kind,
                           const char *namespace_name, const char *name);
/* Whether this is one that nobody has made; what holds it. */
enum namespace_held { NAMESPACE_MADE, NAMESPACE_HOLDS_OBJECTS, NAMESPACE_ALWAYS };
enum namespace_held namespaces_held(const struct namespaces *n, const struct kind *kind, const char *name);

#endif
