/* SPDX-License-Identifier: Apache-2.0
 *
 * What the table's own files share: the entries, and the conditions of a status.
 */
#ifndef LEAT_BROKER_RESOURCE_TABLE_H
#define LEAT_BROKER_RESOURCE_TABLE_H

#include "list.h"
#include "map.h"
#include "packed.h"
#include "prng.h"
#include "resource.h"
#include "store.h"

#define KEY_OF_FEED "/#feed" /* behind the key of a Flow: its feed; no name has a # */

struct entry {
    struct resource public;
    cJSON *object;              /* owned, flat (packed.h): public.object */
    char *origin;               /* owned; NULL: made over the API */
    char *managed;              /* owned (cJSON's): who owns which fields; NULL: nobody */
    cJSON *others;              /* owned: what others wrote in its status (table_status.c); NULL: nothing */
    char *next_managed;         /* owned likewise: of the write under way; NULL: it stays, "": nobody */
    bool told;                  /* the listener knows of it, or it was there before there was one */
    bool seen;                  /* by the sync under way */
    bool planned, planned_kept; /* the last plan has it: its subscriptions may hold events; the store says so */
    struct packed *status;      /* owned: public.status */
    struct packed *next_status; /* owned: what a plan says of it that is not in force yet; NULL: nothing */
    uint64_t next_status_plan;  /* that plan's number */
    /* standing.c */
    char *cursor;                   /* owned: the name of its cursors where it is not the uid */
    bool cursor_asked, cursor_kept; /* the store has been asked; it has the name */
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
    bool named_uids;
    struct entry **entries; /* sorted by kind, namespace, name */
    size_t count, cap;
    uint64_t version;
    uint64_t plans;         /* compiled so far */
    struct map faults;      /* faults.c: by key of the plan */
    uint64_t faults_beyond; /* faults.c: how many found no room there */
    resource_told_fn *told; /* NULL: nobody listens */
    void *told_arg;
    resource_status_fn *status_told; /* likewise */
    void *status_arg;
    /* table_kept.c */
    struct store *store; /* NULL: nothing is kept */
    struct map absent;   /* "group/kind/ns/name" → struct entry: identities of files' objects that may come back */
    struct stranger *strangers;
    size_t stranger_count;
};

/* ---- table.c ---- */

struct entry *table_find(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name);
bool table_reserve(struct resource_table *t, size_t more);    /* room for so many; false: no memory */
void table_insert(struct resource_table *t, struct entry *e); /* there is room */
/* Frees it, too, when it goes for good; else kept_absent has it, and may give it back. */
void table_take_out(struct resource_table *t, size_t i, bool for_good);
/* The next version, for a change that is done; the listener is told of it. `before`: resource_told_fn. */
void table_version_take(struct resource_table *t, struct entry *e, const cJSON *before);
/* Makes `object` a new one's, and looks at it, until entry_flatten. NULL: no memory. */
struct entry *entry_new(struct resource_table *t, const struct kind *kind, cJSON *object, const char *origin);
/* From now on the entry has a flat copy. false: no memory. */
bool entry_flatten(struct entry *e) must_check;
/* The next state, flat; `object` is taken over. */
void entry_replace(struct resource_table *t, struct entry *e, const struct kind *kind, cJSON *object);
void entry_free(struct entry *e);
/* Takes `status` over; NULL: there is none. */
void entry_status_set(struct entry *e, struct packed *status);

/* ---- table_object.c ---- */

bool object_text_set(cJSON *object, const char *name, const char *value); /* false: no memory */
/* Gives a new object what the server gives: uid, time, generation 1, a room for its version, the namespace's phase.
 * false: no memory. */
bool object_begin(struct resource_table *t, const struct kind *kind, cJSON *object);
/* Makes `object` the next state of `old`: what the server keeps is carried over. *changed false: there is nothing to
 * do. false: no memory. */
bool object_continue(const struct entry *old, cJSON *object, bool *changed);
/* Whether object_continue would find nothing to do. */
bool object_is_as_before(const struct entry *old, const cJSON *object);
/* Sets the time of deletion, and counts a generation. false: no memory. */
bool object_mark_deleted(struct resource_table *t, cJSON *object);
/* Room for any version, as flat ones have it; then setting one cannot fail. false: no memory. */
bool object_version_reserve(cJSON *object);
void object_version_set(cJSON *object, uint64_t version);
/* Takes metadata.managedFields out of an object that is to be the entry's next state. */
void object_managed_take(struct entry *e, cJSON *object);
/* Whether an object says of its managers what the entry does not. */
bool object_managed_differs(const struct entry *e, const cJSON *object);
/* Puts what was taken in force, or forgets it. */
void entry_managed_keep(struct entry *e);
void entry_managed_forget(struct entry *e);
/* Points the public view into the object. */
void entry_view(struct entry *e);

/* ---- table_kept.c: the table's side of the store ---- */

void kept_fini(struct resource_table *t);
/* What a write means to the store: the object of `before` (NULL: there was none) becomes `after` (NULL: it goes), both
 * of `e`'s kind, place and owner. */
struct store_change kept_change(const char *who, const struct entry *before, const struct entry *e, const cJSON *after);
/* One such write, which takes the table's next version. */
enum err kept_write(struct resource_table *t, const char *who, const struct entry *before, const struct entry *e,
                    const cJSON *after, struct diag *d) must_check;
/* Before a version is taken that is not written itself. */
enum err kept_version_reserve(struct resource_table *t, struct diag *d) must_check;
/* The identity that a file's object had before its file went away; NULL when there is none. It stays in the map. */
struct entry *kept_absent(const struct resource_table *t, const struct kind *kind, const char *ns, const char *name);
/* From now on the entry, which is or will be none of the others any more, is such an identity. false: no memory. */
bool kept_absent_put(struct resource_table *t, struct entry *e) must_check;
/* Takes the identity out of the map: of the entry itself, or of one in its place, which is freed. */
void kept_absent_forget(struct resource_table *t, const struct entry *e);

/* ---- standing.c ---- */

/* The name under which the cursors of its deliveries lie on their bus; remembered where it wants that. NULL: no memory,
 * or the store does not answer (logged). */
const char *entry_cursor(struct resource_table *t, const struct resource *r);
/* The object goes, and its cursors with it, unless it wants them kept. */
void entry_cursor_leave(struct resource_table *t, struct entry *e);

/* Has the store know which objects the plan just made has subscriptions of, so that a start knows which of them may
 * hold events. */
enum err resource_planned_keep(struct resource_table *t, struct diag *d) must_check;

/* ---- table_status.c ---- */

/* Puts into a status what others wrote and it says nothing of; the rest is theirs no more. false: no memory. */
bool status_join_others(struct entry *e, cJSON *status);
/* A condition is leat's own from now on. */
void status_claim(struct entry *e, const char *type);
/* ERR_CONFLICT: the object belongs to a file. */
enum err resource_owned(const struct resource *r, struct diag *d);

/* resource_set_status where the present one is known already: `old`, NULL when there is none. */
enum err status_replace(struct resource_table *t, struct entry *e, cJSON *status, const cJSON *old) must_check;
/* Takes the status out of an object to the place where `kind` has it. *out is the caller's (free), NULL where it has
 * none or keeps it in the object. false: no memory. */
bool status_take(const struct kind *kind, cJSON *object, struct packed **out) must_check;

/* The present time as a status has it. false: no memory. */
bool table_now(const struct resource_table *t, char *out, size_t size);

/* ---- conditions (conditions.c) ---- */

#define CONDITION_WEBHOOK "WebhookConfigured" /* written while a source runs, kept when the plan is compiled anew */

#define CONDITION_BUILT_IN "BuiltIn"        /* of kinds that are kept and not run: False */
#define CONDITION_DELIVERING "Delivering"   /* of what is paused: False, for people; Ready repeats its reason */
#define CONDITION_HEALTHY "DeliveryHealthy" /* whether its subscriber takes what it gets (health.c); never in Ready */
#define CONDITION_START "StartHeeded" /* False: a new one begins with the latest, whatever was asked for; likewise */

/* What its conditions go by: its kind, or "Broker of Kafka" (of RabbitMQ), whose conditions are others. */
const char *condition_kind(const struct resource *r);
/* Adds a condition to a status under construction. `status`: "True", "False", "Unknown". false: no memory. */
bool condition_put(cJSON *status, const char *type, const char *value, const char *reason, const char *message);
/* The condition of this type; NULL when there is none. */
cJSON *condition_find(const cJSON *status, const char *type);
/* Every condition keeps the time of its last change of value, as the status of before has it, and takes the present one
 * else. false: no memory. */
bool condition_times_put(const struct resource_table *t, cJSON *status, const cJSON *old);
/* Keeps a status under construction (takes it over) until its plan is in force: with observedGeneration, and Ready from
 * the conditions that it depends on. false: no memory. */
bool status_keep(const struct resource *r, uint64_t plan, cJSON *status);
/* The status as the newest plan has it, in force or not; as resource_status. */
bool status_newest(const struct resource *r, cJSON **out) must_check;

/* ---- health.c ---- */

/* What is known of an object's deliveries, from its status as it was, into the next one; Unknown where there is
 * nothing, and nothing where it delivers nothing. false: no memory. */
bool health_put(const struct resource *r, cJSON *status, const cJSON *old);

/* ---- faults.c ---- */

#define FAULTS_MAX 1000 /* each status is held against each of them; a condition beyond lasts until the next plan */
void faults_fini(struct resource_table *t);
/* What the engine could not do for this object, as a condition of its status under construction. false: no memory. */
bool faults_put(const struct resource_table *t, const struct resource *r, cJSON *status);

#endif
