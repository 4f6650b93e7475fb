/* SPDX-License-Identifier: Apache-2.0
 *
 * The laboratory: steps and the model that they leave. The oracle is in log_oracle.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ce_pack.h"
#include "fake_disk_parts.h"
#include "log_lab_parts.h"

const struct lab_profile lab_profiles[LAB_PROFILES] = {
    {.name = "small",
     .share = 20,
     .sizes_to = 0,
     .append = 5,
     .commit = 5,
     .mark = 1,
     .read = 1,
     .reopen = 1,
     .prepare = 1,
     .batch_max = 3,
     .steps = 30},
    {.name = "one size",
     .share = 20,
     .sizes_from = 1,
     .sizes_to = 1,
     .append = 6,
     .commit = 2,
     .mark = 1,
     .batch_max = 6,
     .steps = 12,
     .kills = true},
    {.name = "catalogue",
     .share = 20,
     .sizes_to = 2,
     .append = 3,
     .commit = 4,
     .object = 8,
     .mark = 1,
     .reopen = 1,
     .read = 1,
     .batch_max = 4,
     .steps = 40,
     .kills = true},
    {.name = "rolls",
     .share = 8,
     .sizes_from = 2,
     .sizes_to = 4,
     .append = 8,
     .commit = 3,
     .object = 2,
     .read = 1,
     .prepare = 2,
     .batch_max = 6,
     .steps = 20},
    {.name = "mixed",
     .share = 8,
     .sizes_to = 4,
     .append = 6,
     .commit = 4,
     .object = 2,
     .mark = 2,
     .reopen = 2,
     .read = 1,
     .advance = 2,
     .prepare = 1,
     .reclaim = 1,
     .batch_max = 12,
     .steps = 25,
     .kills = true},
    {.name = "giants",
     .share = 6,
     .sizes_from = 4,
     .sizes_to = 5,
     .append = 4,
     .commit = 3,
     .object = 1,
     .reopen = 1,
     .advance = 1,
     .batch_max = 2,
     .steps = 10,
     .kills = true},
    {.name = "reclaim",
     .share = 12,
     .sizes_from = 4,
     .sizes_to = 4,
     .append = 8,
     .commit = 4,
     .object = 4,
     .read = 1,
     .reopen = 1,
     .reclaim = 6,
     .prepare = 1,
     .advance = 1,
     .batch_max = 4,
     .steps = 30,
     .kills = true},
    {.name = "full",
     .share = 6,
     .sizes_from = 2,
     .sizes_to = 4,
     .append = 8,
     .commit = 4,
     .object = 3,
     .read = 1,
     .reopen = 1,
     .reclaim = 2,
     .prepare = 1,
     .batch_max = 4,
     .steps = 40,
     .capacity = 400 << 10,
     .kills = true},
};

void lab_fail(const struct lab *l, const char *file, int line, const char *what, const char *format, ...)
{
    va_list ap;
    fprintf(stderr, "\n%s, profile %s: replay with SEED=%llu:%llu\n%s:%d: %s\n", l->story, l->profile->name,
            (unsigned long long)l->seed, (unsigned long long)l->point, file, line, what);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    fail();
    abort();
}

/* ---- the pool of events: packed once; records of the same event are told apart by their spread ---- */

#define POOL 48
static const size_t class_sizes[LAB_CLASSES][2] = {{0, 40},      {200, 200},     {300, 2000},
                                                   {3000, 9000}, {20000, 40000}, {66000, 140000}};

static struct {
    const struct ce_event *event;
    unsigned char *packed;
    size_t len;
} pool[LAB_CLASSES * POOL];

static void pool_make(size_t i)
{
    static unsigned char data[140001];
    struct prng random;
    struct ce_builder b;
    char id[32];
    prng_seed(&random, i);
    const size_t *sizes = class_sizes[i / POOL];
    size_t n = sizes[0] + prng_below(&random, sizes[1] - sizes[0] + 1);
    for (size_t k = 0; k < n; k++)
        data[k] = (unsigned char)prng_next(&random);
    snprintf(id, sizeof(id), "%04zu", i);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/lab"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("a.b"));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of((const char *)data, n));
    if (ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &pool[i].event, NULL) != OK)
        abort();
    pool[i].len = ce_pack_size(pool[i].event);
    pool[i].packed = fake_take(pool[i].len);
    ce_pack(pool[i].event, pool[i].packed);
}

void lab_warm_up(void)
{
    for (size_t i = 0; i < LAB_CLASSES * POOL && !pool[LAB_CLASSES * POOL - 1].event; i++)
        pool_make(i);
}

void lab_cool_down(void)
{
    for (size_t i = 0; i < LAB_CLASSES * POOL; i++) {
        pool[i].event = ce_event_unref(pool[i].event);
        free(pool[i].packed);
        pool[i].packed = NULL;
    }
}

struct slice lab_event_bytes(const struct lab_record *r)
{
    return slice_of((const char *)pool[r->event].packed, pool[r->event].len);
}

/* ---- objects ---- */

void lab_object(const struct lab_record *r, struct lab_object_memory *m, struct log_object *out)
{
    int n = snprintf(m->name, sizeof(m->name), "%s/%u", r->type == LOG_CHANNEL ? "channel" : "cursor", r->object);
    size_t len = 16 + r->version * 7 % 100;
    memcpy(m->value, &r->version, 8);
    memcpy(m->value + 8, &r->position, 8);
    memset(m->value + 16, (int)(r->version & 0xff), len - 16);
    *out = (struct log_object){.type = r->type,
                               .number = r->object,
                               .channel = r->type == LOG_CURSOR ? r->channel : 0,
                               .since_ns = (int64_t)r->version * 1000,
                               .name = slice_of(m->name, (size_t)n),
                               .value = slice_of(m->value, r->kind == LOG_OBJECT_GONE ? 0 : len)};
}

/* The object's last record at or before a sequence; NULL: there is none, or it is gone. */
const struct lab_record *lab_object_at(const struct lab_model *m, enum log_object_type type, uint32_t number,
                                       uint64_t sequence)
{
    for (size_t i = m->count; i-- > 0;) {
        const struct lab_record *r = &m->records[i];
        if (r->kind != LOG_EVENT && r->sequence <= sequence && r->type == type && r->object == number)
            return r->kind == LOG_OBJECT ? r : NULL;
    }
    return NULL;
}

static void recount_numbers(struct lab_model *m)
{
    memset(m->numbers, 0, sizeof(m->numbers));
    for (size_t i = 0; i < m->count; i++)
        if (m->records[i].kind != LOG_EVENT && m->records[i].object > m->numbers[m->records[i].type])
            m->numbers[m->records[i].type] = m->records[i].object;
}

/* ---- the model ---- */

void lab_model_add(struct lab_model *m, const struct lab_record *r)
{
    fake_grow((void **)&m->records, &m->cap, m->count, sizeof(*m->records));
    m->records[m->count++] = *r;
    if (r->kind != LOG_EVENT && r->object > m->numbers[r->type])
        m->numbers[r->type] = r->object;
}

void lab_model_cut(struct lab_model *m, size_t count)
{
    m->count = count;
    recount_numbers(m);
}

static void notice(void *arg, int severity, const char *code, const char *text)
{
    struct lab *l = arg;
    (void)severity;
    if (fake_disk_traced(l->disk))
        fprintf(stderr, "  notice %s: %s\n", code, text);
    l->notices |= strcmp(code, "LogLost") == 0         ? LAB_SAID_LOST
                  : strcmp(code, "LogSegmentBad") == 0 ? LAB_SAID_SEGMENT_BAD
                  : strcmp(code, "LogTailCut") == 0    ? LAB_SAID_TAIL_CUT
                                                       : LAB_SAID_OTHER;
}

void lab_init(struct lab *l, uint64_t seed, const struct lab_profile *p)
{
    lab_warm_up();
    *l = (struct lab){.seed = seed, .story = "lab", .profile = p, .segment_bytes = LOG_SEGMENT_BYTES_MIN};
    prng_seed(&l->random, seed);
    l->disk = fake_disk_new(prng_next(&l->random));
    if (p->capacity)
        fake_disk_capacity(l->disk, p->capacity);
    clock_fake_init(&l->clock, 1000, 1700000000ll * 1000000000);
}

void lab_fini(struct lab *l)
{
    lab_close(l);
    free(l->model.records);
    fake_disk_free(l->disk);
    memset(l, 0, sizeof(*l));
}

void lab_fork(const struct lab *from, struct fake_disk *disk, uint64_t seed, struct lab *to)
{
    *to = *from;
    to->store = NULL;
    to->disk = disk;
    prng_seed(&to->random, seed);
    to->model.cap = from->model.count + 16;
    to->model.records = fake_take(to->model.cap * sizeof(*to->model.records));
    if (from->model.count)
        memcpy(to->model.records, from->model.records, from->model.count * sizeof(*to->model.records));
}

enum err lab_open(struct lab *l, bool read_only)
{
    struct log_store_options o = {.disk = fake_disk_base(l->disk),
                                  .clock = &l->clock.base,
                                  .dir = LAB_DIR,
                                  .segment_bytes = l->segment_bytes,
                                  .read_only = read_only,
                                  .notice = notice,
                                  .arg = l};
    l->notices = 0;
    l->diag.text[0] = '\0';
    lab_check(l, !l->store);
    fake_disk_restart(l->disk);
    enum err e = log_store_open(&o, &l->store, &l->diag);
    lab_check(l, e == OK || !l->store, "the store is set though it failed");
    lab_check(l, e == OK || l->diag.text[0], "%s without a word", err_name(e));
    return e;
}

void lab_close(struct lab *l)
{
    log_store_close(l->store);
    l->store = NULL;
}

/* ---- steps ---- */

/* Hands the tentative records over, and notes what became of them. */
static enum err append_tentative(struct lab *l)
{
    struct lab_model *m = &l->model;
    struct log_write writes[LAB_BATCH_MAX] = {0};
    struct log_object objects[LAB_BATCH_MAX];
    struct lab_object_memory memory[LAB_BATCH_MAX];
    uint64_t last = log_store_last(l->store);
    for (size_t i = 0; i < m->tentatives; i++) {
        const struct lab_record *r = &m->tentative[i];
        writes[i] = (struct log_write){.kind = r->kind, .channel = r->channel, .spread = r->spread};
        if (r->kind == LOG_EVENT) {
            writes[i].event = pool[r->event].event;
        } else {
            lab_object(r, &memory[i], &objects[i]);
            writes[i].object = &objects[i];
        }
    }
    enum err e = log_store_append(l->store, writes, m->tentatives);
    size_t written = 0;
    while (written < m->tentatives && writes[written].sequence)
        written++;
    lab_check(l, e != OK || written == m->tentatives, "%zu of %zu have a sequence", written, m->tentatives);
    for (size_t i = written; i < m->tentatives; i++)
        lab_check(l, writes[i].sequence == 0, "write %zu has a sequence, write %zu has none", i, written);
    for (size_t i = 0; i < written; i++) {
        struct lab_record r = m->tentative[i];
        lab_check(l, writes[i].sequence > last, "sequence %llu after %llu", (unsigned long long)writes[i].sequence,
                  (unsigned long long)last);
        lab_check(l, writes[i].bytes >= LOG_RECORD_HEAD && writes[i].bytes % LOG_ALIGN == 0);
        last = r.sequence = writes[i].sequence;
        r.bytes = writes[i].bytes;
        r.wall_ns = writes[i].wall_ns;
        lab_model_add(m, &r);
    }
    memmove(m->tentative, m->tentative + written, (m->tentatives - written) * sizeof(m->tentative[0]));
    m->tentatives -= written;
    lab_check(l, log_store_last(l->store) >= last);
    return e;
}

/* After a failure nothing is written any more (S5), and what is tentative stays what it was. */
static enum err append_refused(struct lab *l)
{
    struct log_write w = {.kind = LOG_EVENT, .channel = 1, .event = pool[0].event};
    enum err e = log_store_append(l->store, &w, 1);
    lab_check(l, e != OK && w.sequence == 0, "append gave %s after a failure", err_name(e));
    return e;
}

enum err lab_append(struct lab *l, size_t count)
{
    struct lab_model *m = &l->model;
    const struct lab_profile *p = l->profile;
    if (log_store_failed(l->store, NULL))
        return append_refused(l);
    m->tentatives = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t class = p->sizes_from + prng_below(&l->random, p->sizes_to - p->sizes_from + 1);
        m->tentative[m->tentatives++] = (struct lab_record){
            .kind = LOG_EVENT,
            .channel = 1 + (uint32_t)prng_below(&l->random, LAB_CHANNELS_MAX),
            .spread = (uint32_t)prng_next(&l->random),
            .event = (uint32_t)(class * POOL + prng_below(&l->random, POOL)),
        };
    }
    return append_tentative(l);
}

static bool random_object(struct lab *l, struct lab_record *out)
{
    const struct lab_model *m = &l->model;
    size_t n = m->count ? (size_t)prng_below(&l->random, m->count) : 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct lab_record *r = &m->records[(n + i) % m->count];
        if (r->kind == LOG_EVENT || !lab_object_at(m, r->type, r->object, UINT64_MAX))
            continue;
        *out = *lab_object_at(m, r->type, r->object, UINT64_MAX);
        return true;
    }
    return false;
}

enum err lab_put_object(struct lab *l)
{
    struct lab_model *m = &l->model;
    struct lab_record r = {0};
    if (log_store_failed(l->store, NULL))
        return append_refused(l);
    uint64_t what = prng_below(&l->random, 10);
    if (what < 3 || !random_object(l, &r)) {
        r = (struct lab_record){.kind = LOG_OBJECT, .type = prng_below(&l->random, 3) ? LOG_CURSOR : LOG_CHANNEL};
        r.object = log_store_next_number(l->store, r.type);
        r.channel = r.type == LOG_CURSOR ? 1 + (uint32_t)prng_below(&l->random, 2) : 0; /* the others nobody needs */
        lab_check(l, r.object > m->numbers[r.type], "number %u of type %u was used", r.object, r.type);
    } else {
        r.kind = what == 9 ? LOG_OBJECT_GONE : LOG_OBJECT;
    }
    uint64_t back = prng_below(&l->random, 60);
    r.position = m->acknowledged > back ? m->acknowledged - back : 0;
    r.version = ++m->versions;
    r.dispensable = r.present = false;
    r.spread = 0;
    m->tentatives = 1;
    m->tentative[0] = r;
    return append_tentative(l);
}

enum err lab_put_cursor(struct lab *l, uint32_t number, uint32_t channel, uint64_t position)
{
    l->model.tentatives = 1;
    l->model.tentative[0] = (struct lab_record){.kind = LOG_OBJECT,
                                                .type = LOG_CURSOR,
                                                .object = number ? number : log_store_next_number(l->store, LOG_CURSOR),
                                                .channel = channel,
                                                .position = position,
                                                .version = ++l->model.versions};
    return append_tentative(l);
}

enum err lab_commit(struct lab *l)
{
    enum err e = log_store_commit(l->store);
    if (e == OK && l->model.count && l->model.records[l->model.count - 1].sequence > l->model.acknowledged)
        l->model.acknowledged = l->model.records[l->model.count - 1].sequence;
    if (e == OK)
        lab_check(l, log_store_committed(l->store) >= l->model.acknowledged);
    return e;
}

static bool all_committed(const struct lab *l)
{
    return log_store_committed(l->store) == log_store_last(l->store);
}

static enum err reopen(struct lab *l)
{
    lab_close(l);
    if (fake_disk_stopped(l->disk))
        return ERR_IO;
    lab_check(l, fake_disk_open_files(l->disk) == 0, "%zu files are open after close", fake_disk_open_files(l->disk));
    enum err e = lab_open(l, false);
    if (e != OK)
        return e;
    lab_verify(l);
    return OK;
}

enum err lab_step(struct lab *l)
{
    const struct lab_profile *p = l->profile;
    const unsigned weights[] = {p->append, p->commit,  p->object,  p->mark,   p->reopen,
                                p->read,   p->advance, p->reclaim, p->prepare};
    unsigned sum = 0, at = 0;
    for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++)
        sum += weights[i];
    unsigned pick = (unsigned)prng_below(&l->random, sum);
    while (pick >= weights[at])
        pick -= weights[at++];
    switch (at) {
    case 0:
        return lab_append(l, 1 + prng_below(&l->random, p->batch_max));
    case 1:
        return lab_commit(l);
    case 2:
        return lab_put_object(l);
    case 3:
        return all_committed(l) ? log_store_mark(l->store) : OK;
    case 4:
        return reopen(l);
    case 5:
        lab_look(l);
        return OK;
    case 6:
        clock_fake_advance(&l->clock, prng_below(&l->random, 5) * NS_PER_S);
        return OK;
    case 7:
        return lab_reclaim(l);
    default:
        return log_store_prepare(l->store, prng_below(&l->random, 2) << 17);
    }
}
