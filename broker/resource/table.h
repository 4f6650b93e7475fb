/* SPDX-License-Identifier: Apache-2.0
 *
 * What the table's own files share: the entries, and the conditions of a status.
 */
#ifndef LEAT_BROKER_RESOURCE_TABLE_H
#define LEAT_BROKER_RESOURCE_TABLE_H

#include "list.h"
#include "map.h"
#include "prng.h"
#include "resource.h"

struct entry {
    struct resource public;
    char *origin; /* owned; NULL: made over the API */
    bool seen;    /* by the sync under way */
    bool planned; /* the last plan has it: its subscriptions may hold events */
};

/* For the planner: what it says of an object outlives the plan, and an object's change. */
static inline bool entry_planned(const struct resource *r)
{
    return container_of(r, const struct entry, public)->planned;
}
static inline void entry_set_planned(const struct resource *r, bool planned)
{
    ((struct entry *)(uintptr_t)container_of(r, const struct entry, public))->planned = planned;
}

struct resource_table {
    const struct clock *clock;
    struct prng prng;
    struct entry **entries; /* sorted by kind, namespace, name */
    size_t count, cap;
    uint64_t version;
    struct map faults; /* faults.c: by key of the plan */
};

/* The present time as a status has it. false: no memory. */
bool table_now(const struct resource_table *t, char *out, size_t size);

/* ---- conditions (conditions.c) ---- */

#define CONDITION_WEBHOOK "WebhookConfigured" /* written while a source runs, kept when the plan is compiled anew */

#define CONDITION_BUILT_IN "BuiltIn"      /* of kinds that are kept and not run: False */
#define CONDITION_DELIVERING "Delivering" /* of what is paused: False, for people; Ready repeats its reason */

/* Adds a condition to a status under construction. `status`: "True", "False", "Unknown". false: no memory. */
bool condition_put(cJSON *status, const char *type, const char *value, const char *reason, const char *message);
/* The condition of this type; NULL when there is none. */
cJSON *condition_find(const cJSON *status, const char *type);
/* Finishes a status under construction and puts it in force (takes it over): Ready from the conditions that it depends
 * on, times of those that did not change, the conditions of running sources, observedGeneration. */
enum err status_finish(struct resource_table *t, const struct resource *r, cJSON *status) must_check;

/* ---- faults.c ---- */

#define FAULTS_MAX 1000 /* each status is held against each of them; beyond, the log has them */
void faults_fini(struct resource_table *t);
/* What the engine could not do for this object, as a condition of its status under construction. false: no memory. */
bool faults_put(const struct resource_table *t, const struct resource *r, cJSON *status);

#endif
