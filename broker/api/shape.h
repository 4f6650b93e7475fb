/* SPDX-License-Identifier: Apache-2.0
 *
 * An object seen through its kind's schema: which parts of it have owners of their own, and how two states of it
 * differ, as sets of paths (fields.h). As Kubernetes has it for definitions: mappings are divided, unless
 * x-kubernetes-map-type is "atomic"; lists are whole, unless x-kubernetes-list-type is "set" or "map". What a schema
 * does not know is not owned; where it leaves things open, mappings are divided and lists are whole.
 *
 * What the server gives (uid, versions, times) and what names the object are no fields; of an object without its status
 * neither is that, and of its subresource status it is all there is. Pure; results lie in the arena of `w`.
 */
#ifndef LEAT_BROKER_API_SHAPE_H
#define LEAT_BROKER_API_SHAPE_H

#include "fields.h"
#include "resource.h"

#define SHAPE_ELEMENTS_MAX 1000 /* a longer list is owned as a whole: elements are looked for one by one */

struct shape {
    const struct kind *kind;
    bool status; /* the subresource is what this is about */
};

/* What lies at a place. */
struct shape_node {
    const cJSON *schema; /* NULL: anything */
    bool known;          /* the schema has it, or leaves it open */
    bool named;          /* as a property, not as a key of a mapping */
};
struct shape_node shape_root(const struct shape *s);
/* Of a mapping's member, whose own place is `at`; `top`: of the object itself. */
struct shape_node shape_member(struct shape_node at, bool top, const char *name);
struct shape_node shape_element(struct shape_node at);
/* Whether a member of the object itself (`top`), or of its metadata, has owners at all. */
bool shape_owned(const struct shape *s, bool top, bool metadata, const char *name);
/* Whether a value is divided: a mapping or list whose parts have owners. At FIELDS_DEPTH_MAX nothing is. */
bool shape_divided(struct shape_node at, const cJSON *value, int depth);

/* The parts of a mapping or list by the names of their path elements, in order of these; of a list only one that is
 * divided, and where an element has no name, or two have the same, it has `regular` false and no parts. */
struct shape_part {
    const char *name;
    cJSON *value;
};
struct shape_parts {
    struct shape_part *list;
    size_t count;
    bool regular;
};
struct shape_parts shape_parts_of(struct fields_work *w, struct shape_node at, const cJSON *value);
/* Whether a member is one of those that name an element of this list. */
bool shape_is_key(struct shape_node list, const char *name);

/* What somebody owns who applies `object`. */
const struct fields *shape_applied(struct fields_work *w, const struct shape *s, const cJSON *object);

struct shape_difference {
    const struct fields *added, *removed, *modified;
};
/* From one state to another; `before` may be NULL. */
struct shape_difference shape_compare(struct fields_work *w, const struct shape *s, const cJSON *before,
                                      const cJSON *after);

#endif
