/* SPDX-License-Identifier: Apache-2.0
 *
 * Committing what is settled: the oldest unsettled offset of each partition, and as metadata what is settled beyond it
 * (K3, kafka_ledger.h). One request at a time for a consumer; what changes meanwhile goes with the next. All on
 * control.
 */
#include "kafka_member.h"

#include <stdlib.h>

/* Adds what the ledger says. Without memory for the metadata the offset goes alone: more is repeated, nothing lost. */
static bool add(rd_kafka_topic_partition_list_t *list, const struct kafka_member *m, const struct kafka_partition *p)
{
    struct buf b;
    rd_kafka_topic_partition_t *at =
        rd_kafka_topic_partition_list_add(list, kafka_cursor_topic(m->subscription, p->cursor), p->cursor->partition);
    at->offset = p->shot.base;
    buf_init(&b, KAFKA_METADATA_MAX);
    kafka_ledger_encode(&p->shot, &b);
    if (!buf_error(&b) && b.len > 0 && (at->metadata = rd_kafka_mem_malloc(m->rk, b.len))) {
        memcpy(at->metadata, b.ptr, b.len);
        at->metadata_size = b.len;
    }
    buf_fini(&b);
    return true;
}

static void add_fresh(rd_kafka_topic_partition_list_t *list, const struct kafka_member *m, struct kafka_partition *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->fresh)
        p->fresh = !add(list, m, p);
    pthread_mutex_unlock(&p->lock);
}

/* Its answer comes as an event to the member's queue. */
static void commit(struct kafka_member *m, rd_kafka_topic_partition_list_t *list)
{
    if (list->cnt > 0 && !rd_kafka_commit_queue(m->rk, list, m->queue, NULL, NULL))
        m->committing++;
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_commit(struct kafka_member *m)
{
    if (m->committing > 0 || m->vain || m->stale || atomic_load(&m->rejoins) || atomic_load(&m->joining) ||
        m->farewell || m->state == KAFKA_MEMBER_GONE)
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    list_each(l, tmp, &m->partitions)
        add_fresh(list, m, container_of(l, struct kafka_partition, link));
    commit(m, list);
}

bool kafka_commit_open(struct kafka_member *m)
{
    bool open = m->committing > 0;
    list_each(l, tmp, &m->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        pthread_mutex_lock(&p->lock);
        open |= p->fresh;
        pthread_mutex_unlock(&p->lock);
    }
    return open;
}

void kafka_commit_last(struct kafka_member *m, const rd_kafka_topic_partition_list_t *given_up)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(given_up->cnt);
    for (int i = 0; i < given_up->cnt; i++) {
        struct kafka_partition *p = kafka_member_find(m, given_up->elems[i].topic, given_up->elems[i].partition);
        if (!p)
            continue;
        kafka_partition_shoot(p); /* also what a commit under way says: should that be refused, nobody tries it again */
        add_fresh(list, m, p);
    }
    commit(m, list);
}

void kafka_commit_result(struct kafka_member *m, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    bool vain = false;
    m->committing--;
    for (int i = 0; list && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &list->elems[i];
        rd_kafka_resp_err_t why = err ? err : at->err;
        struct kafka_partition *p = kafka_member_find(m, at->topic, at->partition);
        if (!why || !p)
            continue;
        pthread_mutex_lock(&p->lock);
        p->fresh = true; /* what the shot says, or a newer one */
        pthread_mutex_unlock(&p->lock);
        vain = true;
        err = why;
    }
    if (!vain || m->vain)
        return;
    m->vain = true;
    loop_timer_start(m->subscription->bus->desk.env.control, &m->again, KAFKA_AGAIN_NS);
    /* A rebalance under way refuses commits for a moment, and members that were given up for dead learn it so. */
    if (err != RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS && err != RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION &&
        err != RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID)
        desk_notice(&m->subscription->bus->desk, 1, "CommitFailed",
                    "what subscription %s has settled cannot be committed to group %s (%s); it is tried again, and "
                    "until then a restart would deliver it once more",
                    m->subscription->name, m->subscription->group, rd_kafka_err2str(err));
}
