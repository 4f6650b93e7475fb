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
    char *origin;              /* owned; NULL: made over the API */
    bool seen;                 /* by the sync under way */
    bool planned;              /* the last plan has it: its subscriptions may hold events */
    cJSON *next_status;        /* owned: what a plan says of it that is not in force yet; NULL: nothing */
    uint64_t next_status_plan; /* that plan's number */
};

/* For the planner: what it says of an object outlives the plan, and an object's change. */
static inline struct entry *entry_of(const struct resource *r)
{
    return (struct entry *)(uintptr_t)container_of(r, const struct entry, public);
}
static inline bool entry_planned(const struct resource *r)
{
    return entry_of(r)->planned;
}
static inline void entry_set_planned(const struct resource *r, bool planned)
{
    entry_of(r)->planned = planned;
}

struct resource_table {
    const struct clock *clock;
    struct prng prng;
    struct entry **entries; /* sorted by kind, namespace, name */
    size_t count, cap;
    uint64_t version;
    uint64_t plans;    /* compiled so far */
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
/* Keeps a status under construction (takes it over) until its plan is in force: with observedGeneration, and Ready from
 * the conditions that it depends on. false: no memory. */
bool status_keep(const struct resource *r, uint64_t plan, cJSON *status);
/* The condition as the newest plan has it, in force or not; NULL when there is none. */
const cJSON *status_newest(const struct resource *r, const char *type);

/* ---- faults.c ---- */

#define FAULTS_MAX 1000 /* each status is held against each of them; beyond, the log has them */
void faults_fini(struct resource_table *t);
/* What the engine could not do for this object, as a condition of its status under construction. false: no memory. */
bool faults_put(const struct resource_table *t, const struct resource *r, cJSON *status);

#endif
