/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle of the laboratory: what is read, held against the model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_disk_parts.h"
#include "log_lab_parts.h"

#define U(n) ((unsigned long long)(n))

/* ---- one record ---- */

static void encode_object(const struct lab_record *r, unsigned char *out, size_t *len)
{
    struct lab_object_memory m;
    struct log_object o;
    lab_object(r, &m, &o);
    memset(out, 0, LOG_OBJECT_HEAD);
    out[0] = (unsigned char)o.type;
    out[2] = (unsigned char)o.name.len;
    memcpy(out + 4, &o.number, 4);
    memcpy(out + 8, &o.channel, 4);
    memcpy(out + 16, &o.since_ns, 8);
    memcpy(out + LOG_OBJECT_HEAD, o.name.ptr, o.name.len);
    memcpy(out + LOG_OBJECT_HEAD + o.name.len, o.value.ptr, o.value.len);
    *len = LOG_OBJECT_HEAD + o.name.len + o.value.len;
}

/* Whether this is the record as it was handed over. */
static bool is_record(const struct log_view *v, const struct lab_record *r)
{
    if (v->record.kind != r->kind)
        return false;
    if (r->kind == LOG_EVENT)
        return v->record.channel == r->channel && v->record.spread == r->spread &&
               slice_eq(v->payload, lab_event_bytes(r));
    unsigned char bytes[LOG_OBJECT_HEAD + sizeof(struct lab_object_memory)];
    size_t len;
    encode_object(r, bytes, &len);
    return v->record.channel == 0 && slice_eq(v->payload, slice_of((const char *)bytes, len));
}

/* A record that the store wrote by itself: a mark, or a snapshot with its objects as they were there. */
static bool is_own(const struct lab *l, const struct log_view *v)
{
    if (v->record.kind == LOG_MARK)
        return v->payload.len == 0;
    if (v->record.kind == LOG_SNAPSHOT)
        return v->payload.len >= 8 && v->payload.len <= 16;
    if (v->record.kind != LOG_OBJECT || v->payload.len < LOG_OBJECT_HEAD)
        return false;
    uint32_t number;
    memcpy(&number, v->payload.ptr + 4, 4);
    const struct lab_record *r =
        lab_object_at(&l->model, (enum log_object_type)v->payload.ptr[0], number, v->record.sequence);
    if (r && is_record(v, r))
        return true;
    for (size_t i = 0; l->damaged && i < l->model.count; i++) /* what is damaged may have been the latest word */
        if (l->model.records[i].sequence < v->record.sequence && is_record(v, &l->model.records[i]))
            return true;
    return false;
}

/* ---- everything ---- */

struct scan {
    struct lab *l;
    size_t at;     /* the model's record that is next */
    uint64_t last; /* sequence seen */
    bool adopt;
};

static void check_view(struct scan *s, const struct log_view *v)
{
    struct lab *l = s->l;
    struct lab_model *m = &l->model;
    uint64_t sequence = v->record.sequence;
    lab_check(l, sequence > s->last, "sequence %llu after %llu", U(sequence), U(s->last));
    if (!m->reclaimed && !l->damaged)
        lab_check(l, sequence == s->last + 1, "sequence %llu after %llu", U(sequence), U(s->last));
    lab_check(l, v->record.committed < sequence, "committed %llu in %llu", U(v->record.committed), U(sequence));
    while (s->at < m->count && m->records[s->at].sequence < sequence) {
        const struct lab_record *gone = &m->records[s->at++];
        lab_check(l, gone->dispensable || l->damaged, "sequence %llu is not there, %llu is (acknowledged: %llu)",
                  U(gone->sequence), U(sequence), U(m->acknowledged));
    }
    s->last = sequence;
    if (s->at < m->count && m->records[s->at].sequence == sequence) {
        struct lab_record *r = &m->records[s->at++];
        if (r->dispensable && v->record.kind == LOG_MARK)
            return; /* holds the number of one that is not kept */
        lab_check(l, is_record(v, r), "sequence %llu is another record", U(sequence));
        lab_check(l, v->record.wall_ns == r->wall_ns, "sequence %llu has another time", U(sequence));
        r->present = true;
        return;
    }
    if (s->adopt && s->at == m->count && m->tentatives && is_record(v, &m->tentative[0])) {
        struct lab_record r = m->tentative[0];
        r.sequence = sequence;
        r.wall_ns = v->record.wall_ns;
        r.bytes = log_record_size(v->payload.len);
        r.present = true;
        lab_model_add(m, &r);
        memmove(m->tentative, m->tentative + 1, --m->tentatives * sizeof(m->tentative[0]));
        s->at++;
        return;
    }
    lab_check(l, is_own(l, v), "sequence %llu, kind %u, was never appended", U(sequence), v->record.kind);
}

static void scan(struct lab *l, bool adopt)
{
    struct scan s = {.l = l, .adopt = adopt};
    struct log_reader *reader = NULL;
    struct log_view v;
    enum err e = log_reader_new(l->store, 0, 1, &reader);
    lab_check(l, e == OK);
    for (size_t i = 0; i < l->model.count; i++)
        l->model.records[i].present = false;
    while ((e = log_reader_next(reader, &v)) == OK)
        check_view(&s, &v);
    lab_check(l, e == ERR_PENDING, "reading gave %s behind %llu", err_name(e), U(s.last));
    log_reader_free(reader);
    for (size_t i = s.at; i < l->model.count; i++) {
        const struct lab_record *r = &l->model.records[i];
        lab_check(l, r->sequence > l->model.acknowledged || r->dispensable || l->damaged,
                  "acknowledged sequence %llu is not there; the last is %llu", U(r->sequence), U(s.last));
    }
    uint64_t committed = log_store_committed(l->store);
    lab_check(l, s.last == committed || l->damaged || (l->model.reclaimed && !adopt), "read to %llu, committed to %llu",
              U(s.last), U(committed));
    lab_check(l, committed >= l->model.acknowledged || l->damaged, "committed to %llu, acknowledged to %llu",
              U(committed), U(l->model.acknowledged));
    if (adopt) {
        size_t count = l->model.count;
        while (count && l->model.records[count - 1].sequence > committed)
            count--;
        lab_model_cut(&l->model, count);
        l->model.tentatives = 0;
        l->model.acknowledged = committed;
    }
}

/* ---- parts of it ---- */

/* The readers of one channel, from anywhere on. */
static void check_channel(struct lab *l)
{
    const struct lab_model *m = &l->model;
    uint32_t channel = 1 + (uint32_t)prng_below(&l->random, LAB_CHANNELS_MAX);
    uint64_t from = prng_below(&l->random, m->acknowledged + 3);
    struct log_channel_usage sum = {.channel = channel}, usage;
    struct log_reader *reader = NULL;
    struct log_view v;
    enum err e = log_reader_new(l->store, channel, from, &reader);
    lab_check(l, e == OK);
    for (size_t i = 0; i < m->count; i++) {
        const struct lab_record *r = &m->records[i];
        if (!r->present || r->kind != LOG_EVENT || r->channel != channel)
            continue;
        sum.events++;
        sum.bytes += r->bytes;
        sum.first = sum.first ? sum.first : r->sequence;
        sum.last = r->sequence;
        if (r->sequence < from)
            continue;
        e = log_reader_next(reader, &v);
        lab_check(l, e == OK && v.record.sequence == r->sequence && is_record(&v, r),
                  "reading channel %u from %llu: %s, sequence %llu; %llu is next", channel, U(from), err_name(e),
                  e == OK ? U(v.record.sequence) : 0, U(r->sequence));
    }
    e = log_reader_next(reader, &v);
    lab_check(l, e == ERR_PENDING, "channel %u goes on: %s", channel, err_name(e));
    log_reader_free(reader);
    if (log_store_last(l->store) != log_store_committed(l->store))
        return; /* usage counts what is written */
    log_store_usage(l->store, channel, &usage);
    lab_check(
        l, usage.events == sum.events && usage.bytes == sum.bytes && usage.first == sum.first && usage.last == sum.last,
        "usage of channel %u: %llu events, %llu bytes, %llu to %llu; it holds %llu, %llu, %llu to %llu", channel,
        U(usage.events), U(usage.bytes), U(usage.first), U(usage.last), U(sum.events), U(sum.bytes), U(sum.first),
        U(sum.last));
}

static void check_time(struct lab *l)
{
    const struct lab_model *m = &l->model;
    uint32_t channel = 1 + (uint32_t)prng_below(&l->random, LAB_CHANNELS_MAX);
    if (m->count == 0)
        return;
    int64_t wall = m->records[prng_below(&l->random, m->count)].wall_ns - (int64_t)prng_below(&l->random, 2);
    uint64_t want = log_store_committed(l->store) + 1, got = log_store_seek_time(l->store, channel, wall);
    for (size_t i = m->count; i-- > 0;)
        if (m->records[i].present && m->records[i].kind == LOG_EVENT && m->records[i].channel == channel &&
            m->records[i].wall_ns >= wall)
            want = m->records[i].sequence;
    lab_check(l, got == want, "time %lld of channel %u is at %llu, not %llu", (long long)wall, channel, U(want),
              U(got));
}

struct catalogue {
    const struct lab *l;
    size_t count;
};

static void check_object(void *arg, const struct log_object *o)
{
    struct catalogue *c = arg;
    const struct lab *l = c->l;
    struct lab_object_memory memory;
    struct log_object want;
    const struct lab_record *r = lab_object_at(&l->model, o->type, o->number, UINT64_MAX);
    c->count++;
    lab_check(l, r, "the catalogue has object %u of type %u, which there is none of", o->number, o->type);
    lab_object(r, &memory, &want);
    uint64_t version = 0;
    if (o->value.len >= 8)
        memcpy(&version, o->value.ptr, 8);
    lab_check(l,
              o->channel == want.channel && o->since_ns == want.since_ns && slice_eq(o->name, want.name) &&
                  slice_eq(o->value, want.value),
              "object %u of type %u is version %llu, not %llu", o->number, o->type, U(version), U(r->version));
    lab_check(l, o->type != LOG_CURSOR || r->position < r->sequence);
}

/* Some version that was written once. */
static void check_old_object(void *arg, const struct log_object *o)
{
    const struct lab *l = arg;
    struct lab_object_memory memory;
    struct log_object want;
    for (size_t i = 0; i < l->model.count; i++) {
        const struct lab_record *r = &l->model.records[i];
        if (r->kind != LOG_OBJECT || r->type != o->type || r->object != o->number)
            continue;
        lab_object(r, &memory, &want);
        if (o->channel == want.channel && o->since_ns == want.since_ns && slice_eq(o->name, want.name) &&
            slice_eq(o->value, want.value))
            return;
    }
    lab_check(l, false, "object %u of type %u was never written so", o->number, o->type);
}

static void check_catalogue(const struct lab *l)
{
    struct catalogue c = {.l = l};
    size_t want = 0;
    log_store_each_object(l->store, check_object, &c);
    for (size_t i = 0; i < l->model.count; i++) {
        const struct lab_record *r = &l->model.records[i];
        want += r->kind == LOG_OBJECT && lab_object_at(&l->model, r->type, r->object, UINT64_MAX) == r;
    }
    lab_check(l, c.count == want, "the catalogue has %zu objects, not %zu", c.count, want);
}

struct cover {
    const struct lab *l;
    uint64_t last;
    bool newest;
};

/* Segments cover all sequences from the first on, in order, without a gap (R1). */
static void check_segment(void *arg, const struct log_segment_info *i, const struct log_channel_usage *usage,
                          size_t count)
{
    struct cover *c = arg;
    (void)usage;
    lab_check(c->l, i->first && i->first <= i->last + 1, "a segment from %llu to %llu", U(i->first), U(i->last));
    lab_check(c->l, !c->last || i->first == c->last + 1, "a segment from %llu behind %llu", U(i->first), U(c->last));
    lab_check(c->l, i->bytes <= i->size, "%llu bytes of %llu", U(i->bytes), U(i->size));
    lab_check(c->l, !c->newest && count <= LAB_CHANNELS_MAX);
    c->last = i->last;
    c->newest = i->newest;
}

static void check_segments(const struct lab *l)
{
    struct cover c = {.l = l};
    log_store_each_segment(l->store, check_segment, &c);
    lab_check(l, c.last == log_store_committed(l->store), "the last segment ends at %llu, committed is %llu", U(c.last),
              U(log_store_committed(l->store)));
}

void lab_look(struct lab *l)
{
    struct lab_record last = {0};
    if (l->model.count)
        last = l->model.records[l->model.count - 1];
    scan(l, false);
    if (last.sequence > l->model.acknowledged)
        lab_check(l, !l->model.records[l->model.count - 1].present, "sequence %llu is seen before its commit",
                  U(last.sequence));
    check_channel(l);
    check_time(l);
    check_catalogue(l);
}

void lab_verify(struct lab *l)
{
    scan(l, true);
    check_catalogue(l);
    check_channel(l);
    check_time(l);
    if (l->damaged)
        return;
    check_segments(l);
    lab_check(l, log_store_lost(l->store) == 0, "%llu are named as lost", U(log_store_lost(l->store)));
    lab_check(l, !(l->notices & (LAB_SAID_LOST | LAB_SAID_SEGMENT_BAD)), "damage is spoken of where there is none");
}

/* Whether a range names this sequence. */
static bool is_named(const struct lab *l, uint64_t sequence)
{
    struct log_lost lost;
    for (size_t i = 0; i < LOG_LOST_KEPT && log_store_lost_at(l->store, i, &lost); i++)
        if (sequence >= lost.first && sequence <= lost.last)
            return true;
    return false;
}

size_t lab_verify_damaged(struct lab *l, bool unnamed)
{
    struct log_lost lost;
    size_t gone = 0, ranges = 0;
    bool begun = !l->headless;
    uint64_t sum = 0, acknowledged = l->model.acknowledged;
    l->damaged = true;
    scan(l, false);
    for (; ranges < LOG_LOST_KEPT && log_store_lost_at(l->store, ranges, &lost); ranges++) {
        lab_check(l, lost.first && lost.first <= lost.last && lost.why[0], "lost %llu to %llu: %s", U(lost.first),
                  U(lost.last), lost.why);
        sum += lost.last - lost.first + 1;
    }
    lab_check(l, ranges == LOG_LOST_KEPT || sum == log_store_lost(l->store), "%llu are lost, the ranges name %llu",
              U(log_store_lost(l->store)), U(sum));
    for (size_t i = 0; i < l->model.count; i++) {
        const struct lab_record *r = &l->model.records[i];
        bool named = is_named(l, r->sequence);
        begun |= r->present;
        lab_check(l, !(named && r->present), "sequence %llu is named as lost and read", U(r->sequence));
        if (r->present || r->dispensable || r->sequence > acknowledged)
            continue;
        gone++;
        lab_check(l, named || ranges == LOG_LOST_KEPT || !begun || (unnamed && l->notices),
                  "sequence %llu is gone without a word", U(r->sequence));
    }
    lab_check(l, gone == 0 || l->notices || l->headless, "%zu records are gone without a notice", gone);
    log_store_each_object(l->store, check_old_object, l);
    return gone;
}
