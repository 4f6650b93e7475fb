/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters inside: the flat form that filter.c describes, and what the filter shares with its index and with what it
 * says about itself.
 */
#ifndef LEAT_EVENTS_FILTER_PRIVATE_H
#define LEAT_EVENTS_FILTER_PRIVATE_H

#include "cesql_private.h"
#include "event_private.h"
#include "filter.h"

#define FILTER_VALUE_MAX 65536 /* bytes: no attribute that is compared is longer than a header block */

enum filter_kind {
    FILTER_KIND_EXACT,
    FILTER_KIND_PREFIX,
    FILTER_KIND_SUFFIX,
    FILTER_KIND_PRESENT,
    FILTER_KIND_CESQL,
    FILTER_KIND_ALL,
    FILTER_KIND_ANY,
    FILTER_KIND_NOT
};

/* Other names of Knative's, and dataschema's name in 0.3. */
enum filter_alias { FILTER_ALIAS_NONE, FILTER_ALIAS_SCHEMA, FILTER_ALIAS_SCHEMA_0_3, FILTER_ALIAS_MEDIA_TYPE };

/* Ways out of a test that are no tests. */
#define FILTER_NO 0xFFFE
#define FILTER_YES 0xFFFF
_Static_assert(FILTER_NODES_MAX < FILTER_NO, "a test's number fits a way out");

struct filter_clause {
    uint8_t kind;  /* enum filter_kind, none that joins */
    uint8_t core;  /* enum core */
    uint8_t alias; /* enum filter_alias */
    uint16_t holds, fails;
    const struct cesql *cesql;
    struct slice name, value;
};

struct filter {
    unsigned refs;         /* atomic */
    enum filter_kind kind; /* of the outermost clause */
    uint32_t nodes, depth; /* clauses, those of the parts counted; how deep they nest */
    uint32_t test_count, part_count;
    struct filter **parts; /* of one that joins; references */
    struct cesql *cesql;   /* owned */
    int required_rank;     /* 0: no exact value is demanded */
    struct slice required_name, required_value;
    struct filter_clause tests[];
};

/* The value that a test looks at; false when the event has none. */
bool filter_clause_value(const struct filter_clause *t, const struct ce_event *e, struct slice *out);
bool filter_clause_holds(const struct filter_clause *t, const struct ce_event *e);

/* One exact (name, value) pair without which no event matches: of several, the type before the source before the
 * subject before others. Looks into ALL, and into CESQL of the shape type = 'x' AND ... False: none is demanded. The
 * slices live as long as the filter; `name` is an attribute's own name, never one of Knative's other names for it. */
bool filter_required_exact(const struct filter *f, struct slice *name, struct slice *value);

#endif
