/* SPDX-License-Identifier: Apache-2.0
 *
 * Gathers the notes of all shards: a letter to each, which comes back with copies. A shard that has no memory for a
 * copy says that something is missing (`cut`).
 */
#include "lookup.h"

#include <assert.h>
#include <stdlib.h>

#include "shard.h"

struct part {
    struct letter letter;
    struct asking *asking;
    struct shard *shard;
    struct lookup_note *notes[LOOKUP_NOTES_MAX]; /* newest first */
    size_t count;
    bool cut;
    int64_t since_ns;
};

struct asking {
    struct lookup result; /* the first member: what the caller gets */
    struct engine *engine;
    struct slice id, source; /* behind the parts */
    lookup_done_fn *done;
    void *arg;
    size_t waiting, part_count;
    struct part parts[];
};

/* ---- the shard's loop ---- */

static char *copy(char *to, struct slice *s)
{
    if (s->len)
        memcpy(to, s->ptr, s->len);
    s->ptr = to;
    return to + s->len;
}

static struct lookup_note *note_copy(const struct trace_note *n)
{
    size_t head = n->event ? (ce_event_head_size(n->event) + 7) / 8 * 8 : 0;
    struct lookup_note *c = malloc(sizeof *c + head + n->other.len + n->attempt.text.len);
    if (!c)
        return NULL;
    c->note = *n;
    c->note.event = n->event ? ce_event_head_copy(n->event, c->memory) : NULL;
    char *at = copy((char *)c->memory + head, &c->note.other);
    copy(at, &c->note.attempt.text);
    return c;
}

static bool take(void *arg, const struct trace_note *n)
{
    struct part *p = arg;
    struct lookup_note *c = p->count < LOOKUP_NOTES_MAX ? note_copy(n) : NULL;
    if (!c) {
        p->cut = true;
        return false;
    }
    c->loop = p->shard->index;
    p->notes[p->count++] = c;
    return true;
}

static void answered(struct letter *m);

static void asked(struct letter *m)
{
    struct part *p = container_of(m, struct part, letter);
    if (p->shard->trace) {
        p->since_ns = trace_since(p->shard->trace);
        trace_find(p->shard->trace, p->asking->id, p->asking->source, take, p);
    }
    for (size_t i = 0; i < p->count; i++)
        p->notes[i]->rank = p->count - i;
    m->run = answered;
    loop_post_reserved(engine_control(p->asking->engine), m);
}

/* ---- the control loop ---- */

static int compare(const void *a, const void *b)
{
    const struct lookup_note *x = *(const struct lookup_note *const *)a, *y = *(const struct lookup_note *const *)b;
    if (x->note.wall_ns != y->note.wall_ns)
        return x->note.wall_ns < y->note.wall_ns ? -1 : 1;
    if (x->loop != y->loop)
        return x->loop < y->loop ? -1 : 1;
    return x->rank < y->rank ? -1 : 1;
}

static void gather(struct asking *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->part_count; i++) {
        n += a->parts[i].count;
        a->result.cut = a->result.cut || a->parts[i].cut;
        if (a->parts[i].since_ns > a->result.since_ns)
            a->result.since_ns = a->parts[i].since_ns;
    }
    a->result.notes = malloc((n + 1) * sizeof *a->result.notes);
    a->result.cut = a->result.cut || !a->result.notes;
    for (size_t i = 0; i < a->part_count && a->result.notes; i++)
        for (size_t k = 0; k < a->parts[i].count; k++)
            a->result.notes[a->result.count++] = a->parts[i].notes[k];
    if (a->result.count)
        qsort(a->result.notes, a->result.count, sizeof *a->result.notes, compare);
}

static void answered(struct letter *m)
{
    struct asking *a = container_of(m, struct part, letter)->asking;
    assert(a->waiting > 0);
    if (--a->waiting > 0)
        return;
    gather(a);
    a->done(a->arg, &a->result);
}

enum err lookup_start(struct engine *e, struct slice id, struct slice source, lookup_done_fn *done, void *arg)
{
    size_t n = engine_shard_count(e);
    struct asking *a = calloc(1, sizeof *a + n * sizeof a->parts[0] + id.len + source.len);
    if (!a)
        return ERR_NOMEM;
    a->engine = e;
    a->done = done;
    a->arg = arg;
    a->waiting = a->part_count = n;
    a->id = id;
    a->source = source;
    copy(copy((char *)&a->parts[n], &a->id), &a->source);
    for (size_t i = 0; i < n; i++) {
        struct part *p = &a->parts[i];
        p->asking = a;
        p->shard = engine_shard(e, i);
        p->letter.run = asked;
        loop_post_reserved(p->shard->loop, &p->letter);
    }
    return OK;
}

void lookup_free(struct lookup *l)
{
    if (!l)
        return;
    struct asking *a = container_of(l, struct asking, result);
    assert(a->waiting == 0);
    for (size_t i = 0; i < a->part_count; i++)
        for (size_t k = 0; k < a->parts[i].count; k++)
            free(a->parts[i].notes[k]);
    free(l->notes);
    free(a);
}
