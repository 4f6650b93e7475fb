/* SPDX-License-Identifier: Apache-2.0
 *
 * A subscription's consumer: in its group, given partitions and asked for them back, and out of it again. All on
 * control.
 *
 * librdkafka's threads tell of events by a post. It asks one thing at a time, and waits, heartbeats going on, until it
 * is answered:
 *
 *     assign: the group's committed offsets and metadata are asked for (no thread waits), each partition gets its
 * ledger, librdkafka its offsets, and the partitions are dealt to the streams revoke: the streams let go, revoking
 * their tokens; what is settled is committed, unless the partitions are lost to another member already; then librdkafka
 * is told. It rejoins only when the commit is through.
 *
 * A partition whose committed offset is gone is taken from its stream, and assigned once more at its beginning.
 */
#include "kafka_member.h"

#include <assert.h>
#include <stdlib.h>

static struct loop *control_of(const struct kafka_member *m)
{
    return m->subscription->bus->desk.env.control;
}

struct kafka_partition *kafka_member_find(struct kafka_member *m, const char *topic, int32_t partition)
{
    struct kafka_cursor *c = kafka_cursor_of(m->subscription, topic, partition);
    return c && c->at && c->at->member == m ? c->at : NULL;
}

/* ---- dealing partitions to streams ---- */

static bool takes(const struct bus_stream *st)
{
    return !atomic_load(&st->leaving);
}

/* The stream with the fewest partitions; NULL: there is none. */
static struct bus_stream *poorest(struct bus_subscription *s)
{
    struct bus_stream *found = NULL;
    list_each(l, tmp, &s->streams) {
        struct bus_stream *st = container_of(l, struct bus_stream, link);
        if (takes(st) && (!found || st->held < found->held))
            found = st;
    }
    return found;
}

static void count_held(struct kafka_member *m)
{
    list_each(l, tmp, &m->subscription->streams)
        container_of(l, struct bus_stream, link)->held = 0;
    list_each(l, tmp, &m->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        if (p->owner && !p->leaves)
            p->owner->held++;
    }
}

/* Who has none gets a stream; who sits with a stream that has two more than the poorest moves, when nothing of it is in
 * hand. So partitions stay where they are as far as is fair. */
void kafka_member_deal(struct kafka_member *m)
{
    struct bus_stream *to;
    if (m->state != KAFKA_MEMBER_IN)
        return;
    count_held(m);
    list_each(l, tmp, &m->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        if (p->away || p->asked || p->revoked || p->lost || !p->assigned || !(to = poorest(m->subscription)))
            continue;
        kafka_partition_give(p, to);
        to->held++;
    }
    list_each(l, tmp, &m->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        if (!p->away || p->asked || p->leaves || p->revoked || !(to = poorest(m->subscription)) ||
            p->owner->held < to->held + 2)
            continue;
        p->leaves = true;
        p->owner->held--;
        to->held++; /* as good as */
        kafka_partition_ask(p, KAFKA_RECALL_MOVE);
    }
}

/* ---- revoked ---- */

static void call(struct kafka_member *m, const char *what, rd_kafka_error_t *error)
{
    if (!error)
        return;
    desk_notice(&m->subscription->bus->desk, 1, "RebalanceFailed", "group %s: %s: %s", m->subscription->group, what,
                rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

static void begin_anew(struct kafka_member *m, struct kafka_partition *p);

static void rebalance_done(struct kafka_member *m)
{
    rd_kafka_topic_partition_list_destroy(m->rebalance);
    m->rebalance = NULL;
    list_each(l, tmp, &m->partitions)
        begin_anew(m, container_of(l, struct kafka_partition, link));
    kafka_member_deal(m);
}

static void give_up(struct kafka_partition *p)
{
    p->revoked = true;
    if (p->away && !p->asked)
        kafka_partition_ask(p, KAFKA_RECALL_REVOKE);
}

/* Whether librdkafka waits for what it is to be told now. Once it has been told to leave it takes whatever comes for
 * giving up all there is, also what answers a question of before; the farewell's own question then needs none. A commit
 * behind that answer ends the program (an assertion of librdkafka 2.0.2: rd_kafka_cgrp_terminated). */
static bool awaited(struct kafka_member *m)
{
    bool first = !m->parted;
    m->parted = m->farewell;
    return first;
}

/* Ends the revocation once all of its partitions are home. */
static void revoke_on(struct kafka_member *m)
{
    struct kafka_partition *p;
    assert(m->rebalance && !m->assign);
    for (int i = 0; i < m->rebalance->cnt; i++) {
        p = kafka_member_find(m, m->rebalance->elems[i].topic, m->rebalance->elems[i].partition);
        if (p && (p->away || p->asked))
            return;
    }
    if (awaited(m)) {
        if (!m->stale && !rd_kafka_assignment_lost(m->rk))
            kafka_commit_last(m, m->rebalance);
        call(m, "giving up", rd_kafka_incremental_unassign(m->rk, m->rebalance));
    }
    for (int i = 0; i < m->rebalance->cnt; i++) {
        p = kafka_member_find(m, m->rebalance->elems[i].topic, m->rebalance->elems[i].partition);
        if (p)
            kafka_partition_retire(p);
    }
    rebalance_done(m);
}

/* The JoinGroup follows by itself, behind an assignment that may be empty, and a commit of the partitions that stay,
 * sent when that is answered, would be worked off after it (kafka_consumer.c, on_sent). Of partitions that are lost
 * none may follow: a topic that was deleted takes its own away without. */
static void revoke(struct kafka_member *m)
{
    if (!rd_kafka_assignment_lost(m->rk))
        atomic_store(&m->rejoins, true);
    for (int i = 0; i < m->rebalance->cnt; i++) {
        struct kafka_partition *p =
            kafka_member_find(m, m->rebalance->elems[i].topic, m->rebalance->elems[i].partition);
        if (p)
            give_up(p);
    }
    revoke_on(m);
}

/* ---- assigned ---- */

static void take_over(struct kafka_member *m, const char *what)
{
    if (awaited(m))
        call(m, what, rd_kafka_incremental_assign(m->rk, m->rebalance));
}

static void again(struct kafka_member *m)
{
    loop_timer_start(control_of(m), &m->again, KAFKA_AGAIN_NS);
}

static void assign_ask(struct kafka_member *m)
{
    m->asking = true;
    m->asked_ns = clock_monotonic_ns(clock_system());
    loop_timer_start(control_of(m), &m->again, KAFKA_CLOSE_NS);
    kafka_offsets_ask(m->rk, m->subscription->group, m->rebalance, m->queue);
}

/* Where it begins, by what the group has committed; what to tell librdkafka. */
static int64_t begin(struct kafka_partition *p, const rd_kafka_topic_partition_t *found)
{
    const struct bus_subscription *s = p->member->subscription;
    int64_t end = kafka_channel_end(s->channel, p->cursor->topic, p->cursor->partition), at = RD_KAFKA_OFFSET_BEGINNING;
    if (found && kafka_offsets_count(found)) {
        at = found->offset;
        (void)kafka_ledger_decode(&p->ledger, at, slice_of(found->metadata, found->metadata_size));
    } else {
        if (s->latest && end >= 0)
            at = end;
        kafka_ledger_init(&p->ledger, at < 0 ? 0 : at);
    }
    kafka_partition_begun(p);
    return at;
}

/* False: no memory; nothing is lost by asking once more. */
static bool assign_with(struct kafka_member *m, rd_kafka_topic_partition_list_t *offsets)
{
    for (int i = 0; i < m->rebalance->cnt; i++) {
        rd_kafka_topic_partition_t *at = &m->rebalance->elems[i];
        struct kafka_cursor *c = kafka_cursor_of(m->subscription, at->topic, at->partition);
        if (!c || (!c->at && !kafka_partition_new(m, c)))
            return false;
        at->offset = begin(c->at, rd_kafka_topic_partition_list_find(offsets, at->topic, at->partition));
    }
    take_over(m, "taking over");
    for (int i = 0; i < m->rebalance->cnt; i++)
        kafka_member_find(m, m->rebalance->elems[i].topic, m->rebalance->elems[i].partition)->assigned = true;
    rebalance_done(m);
    kafka_subscription_says(m->subscription, OK, NULL);
    return true;
}

static void on_offsets(struct kafka_member *m, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err;
    const rd_kafka_topic_partition_list_t *answer = kafka_offsets_answer(event, &err);
    m->asking = false;
    if (m->vain)
        again(m); /* as before it was asked */
    if (!m->rebalance || !m->assign || m->state != KAFKA_MEMBER_IN)
        return;
    rd_kafka_topic_partition_list_t *offsets = answer ? rd_kafka_topic_partition_list_copy(answer) : NULL;
    if (!offsets)
        kafka_subscription_says(m->subscription, kafka_client_err(err), "the offsets of group %s cannot be learned: %s",
                                m->subscription->group, rd_kafka_err2str(err));
    if (!offsets || !assign_with(m, offsets))
        again(m);
    if (offsets)
        rd_kafka_topic_partition_list_destroy(offsets);
}

/* A partition whose place is gone: from the oldest that is there; which that is, and what is settled of it, shows
 * the first record. Not while librdkafka waits for
 * an answer: it would take this for one. */
static void begin_anew(struct kafka_member *m, struct kafka_partition *p)
{
    if (!p->lost || p->away || p->asked || m->rebalance || m->state != KAFKA_MEMBER_IN)
        return;
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, kafka_cursor_topic(m->subscription, p->cursor), p->cursor->partition)
        ->offset = RD_KAFKA_OFFSET_BEGINNING;
    p->before = p->ledger.base;
    kafka_partition_forget(p);
    kafka_ledger_reopen(&p->ledger);
    kafka_partition_begun(p);
    call(m, "beginning anew", rd_kafka_incremental_unassign(m->rk, one));
    call(m, "beginning anew", rd_kafka_incremental_assign(m->rk, one));
    rd_kafka_topic_partition_list_destroy(one);
}

static void leave_hard(struct kafka_member *m);

void kafka_member_home(struct kafka_member *m, struct kafka_partition *p)
{
    assert(!p->away && !p->asked);
    p->leaves = false;
    if (p->dirty)
        kafka_partition_shoot(p);
    if (m->hard) {
        leave_hard(m);
        return;
    }
    if (p->revoked) {
        if (m->rebalance && !m->assign)
            revoke_on(m);
        return;
    }
    begin_anew(m, p);
    kafka_member_deal(m);
    kafka_commit(m);
}

/* ---- the end ---- */

/* Its first join was answered, and what came of it has not been told. */
static bool in_first_join(const struct kafka_member *m)
{
    return atomic_load(&m->answered) && !m->told;
}

static void *destroy_aside(void *rk)
{
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

/* Joins the consumer's threads. One whose first join never came to its end, since the broker went silent, is left as it
 * is with its threads: it would end the program (say_farewell). And one of a topic that was deleted is destroyed aside,
 * lest K wait for what librdkafka 2.0.2 makes of its partitions (kafka_partition.c, partition_free). Both keep what
 * their threads use (member_free). */
static void end(struct kafka_member *m)
{
    pthread_t thread;
    if (in_first_join(m))
        return;
    if (m->stale) {
        if (!pthread_create(&thread, NULL, destroy_aside, m->rk))
            pthread_detach(thread);
        return;
    }
    rd_kafka_destroy_flags(m->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); /* closed already, or in vain */
    m->rk = NULL;
}

/* After `end`, on whatever thread that was. */
static void member_free(struct kafka_member *m)
{
    static struct kafka_member *_Atomic all; /* those that are left as they are, with what their threads still use */
    if (m->rk) {
        m->client = m->subscription->bus->client;
        kafka_client_ref(m->client);
        m->left = atomic_load(&all);
        while (!atomic_compare_exchange_weak(&all, &m->left, m))
            continue;
        return;
    }
    post_free(m->post); /* librdkafka's threads had it until now */
    free(m);
}

static void gone(struct kafka_job *j)
{
    struct kafka_member *m = container_of(j, struct kafka_member, job);
    struct bus_subscription *s = m->subscription;
    struct kafka_bus *k = s->bus;
    bool was_in = m->told;
    if (j->err) /* K did not come to it: stop */
        end(m);
    member_free(m);
    s->member = NULL;
    kafka_subscription_memberless(s, was_in);
    kafka_subscriptions_idle(k);
}

/* On K. */
static void destroy(struct kafka_job *j)
{
    end(container_of(j, struct kafka_member, job));
}

static void dismantle(struct kafka_member *m)
{
    loop_timer_stop(control_of(m), &m->beat);
    loop_timer_stop(control_of(m), &m->again);
    loop_timer_stop(control_of(m), &m->linger);
    loop_timer_stop(control_of(m), &m->deadline);
    rd_kafka_queue_cb_event_enable(m->queue, NULL, NULL);
    while (!list_empty(&m->partitions))
        kafka_partition_retire(container_of(m->partitions.next, struct kafka_partition, link));
    if (m->rebalance)
        rebalance_done(m);
    kafka_partitions_free(m, NULL);
    kafka_queue_empty(m->queue);
    rd_kafka_queue_destroy(m->queue);
    m->queue = NULL;
}

static void leave(struct kafka_member *m)
{
    assert(m->state == KAFKA_MEMBER_CLOSING);
    m->state = KAFKA_MEMBER_GONE;
    dismantle(m);
    m->job.work = destroy;
    m->job.done = gone;
    kafka_clerk_ask(m->subscription->bus, &m->job);
}

/* Without librdkafka's farewell, but not while a loop holds a partition. */
static void leave_hard(struct kafka_member *m)
{
    m->hard = true;
    list_each(l, tmp, &m->partitions) {
        struct kafka_partition *p = container_of(l, struct kafka_partition, link);
        if (p->away || p->asked) {
            give_up(p);
            return;
        }
    }
    leave(m);
}

/* What is settled is committed before librdkafka leaves: in the middle of a rebalance it says its farewell first, and
 * the commit that follows is refused. */
static bool unsaid(struct kafka_member *m)
{
    if (m->stale || !kafka_client_up(m->subscription->bus->client, NULL, 0) || rd_kafka_assignment_lost(m->rk) ||
        clock_monotonic_ns(clock_system()) - m->closing_ns >= KAFKA_UNSAID_NS)
        return false;
    kafka_commit(m);
    if (!kafka_commit_open(m))
        return false;
    again(m);
    return true;
}

static void deadline_due(struct loop_timer *t)
{
    leave_hard(container_of(t, struct kafka_member, deadline));
}

/* Not while it joins: its last commit would be refused, and a consumer that is destroyed between its first JoinGroup's
 * answer and its SyncGroup's ends the program (an assertion of librdkafka 2.0.2's assignor). */
static void say_farewell(struct kafka_member *m)
{
    if (m->farewell || m->hard || atomic_load(&m->joining) || in_first_join(m) || unsaid(m))
        return;
    m->farewell = true;
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(m->rk, m->queue);
    if (error) {
        rd_kafka_error_destroy(error);
        leave_hard(m);
        return;
    }
    if (m->rebalance && m->assign) { /* not to be taken any more: an answer all the same, which counts as none */
        take_over(m, "leaving");
        rebalance_done(m);
    }
}

void kafka_member_close(struct kafka_member *m)
{
    if (m->state != KAFKA_MEMBER_IN)
        return;
    m->state = KAFKA_MEMBER_CLOSING;
    m->closing_ns = clock_monotonic_ns(clock_system());
    loop_timer_stop(control_of(m), &m->linger);
    if (!m->vain)
        loop_timer_stop(control_of(m), &m->again);
    loop_timer_start(control_of(m), &m->deadline, KAFKA_CLOSE_NS);
    say_farewell(m);
}

/* ---- events ---- */

static void on_rebalance(struct kafka_member *m, rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    m->told = true;
    if (m->rebalance) { /* the farewell's, while a revocation waits for its partitions: one answer for both */
        assert(m->farewell && !m->assign);
        for (int i = 0; i < list->cnt; i++)
            rd_kafka_topic_partition_list_add(m->rebalance, list->elems[i].topic, list->elems[i].partition);
    } else {
        m->rebalance = rd_kafka_topic_partition_list_copy(list);
        m->assign = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    }
    if (!m->assign)
        revoke(m);
    else if (list->cnt > 0 && m->state == KAFKA_MEMBER_IN)
        assign_ask(m);
    else {
        take_over(m, "taking over");
        rebalance_done(m);
        kafka_subscription_says(m->subscription, OK, NULL);
    }
}

/* Whether the error is of the group or its topics: those of connections are the client's to tell. */
static void on_error(struct kafka_member *m, rd_kafka_event_t *event)
{
    struct bus_subscription *s = m->subscription;
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    switch ((int)err) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
        return;
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED: /* control did not run for minutes; librdkafka rejoins with the next poll
                                                */
        break;
    default:
        if (kafka_client_err(err) == ERR_NOTFOUND)
            kafka_channel_suspect(s->channel);
        kafka_subscription_says(s, kafka_client_err(err), "group %s: %s", s->group, rd_kafka_event_error_string(event));
    }
    if (rd_kafka_event_error_is_fatal(event))
        kafka_member_close(m);
}

static void on_event(struct kafka_member *m, rd_kafka_event_t *event)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_REBALANCE:
        on_rebalance(m, event);
        break;
    case RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT:
        on_offsets(m, event);
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        kafka_commit_result(m, event);
        break;
    case RD_KAFKA_EVENT_ERROR:
        on_error(m, event);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

void kafka_member_serve(void *owner)
{
    struct kafka_member *m = owner;
    rd_kafka_event_t *event;
    do {
        while (m->state != KAFKA_MEMBER_GONE && (event = rd_kafka_queue_poll(m->queue, 0)))
            on_event(m, event);
    } while (m->state != KAFKA_MEMBER_GONE && rd_kafka_queue_length(m->queue) > 0);
    if (m->state == KAFKA_MEMBER_CLOSING)
        say_farewell(m);
    if (m->state == KAFKA_MEMBER_CLOSING && !m->hard && rd_kafka_consumer_closed(m->rk))
        leave_hard(m); /* as a rule all partitions are home */
    else if (m->state == KAFKA_MEMBER_IN)
        kafka_commit(m);
}

static void beat_due(struct loop_timer *t)
{
    struct kafka_member *m = container_of(t, struct kafka_member, beat);
    loop_timer_start(control_of(m), t, KAFKA_BEAT_NS);
    kafka_member_serve(m);
}

static void again_due(struct loop_timer *t)
{
    struct kafka_member *m = container_of(t, struct kafka_member, again);
    m->vain = false;
    if (m->state == KAFKA_MEMBER_CLOSING)
        say_farewell(m);
    if (m->state != KAFKA_MEMBER_IN)
        return;
    if (m->rebalance && m->assign && !m->asking)
        assign_ask(m);
    kafka_commit(m);
    if (!m->asking)
        return;
    if (clock_monotonic_ns(clock_system()) - m->asked_ns >= KAFKA_CLOSE_NS)
        kafka_member_close(m); /* in vain (kafka_offsets.c, options_of): another one joins */
    else
        loop_timer_start(control_of(m), t, KAFKA_CLOSE_NS);
}

static void linger_due(struct loop_timer *t)
{
    kafka_member_close(container_of(t, struct kafka_member, linger));
}

void kafka_member_timers_init(struct kafka_member *m)
{
    loop_timer_init(&m->beat, beat_due);
    loop_timer_init(&m->again, again_due);
    loop_timer_init(&m->linger, linger_due);
    loop_timer_init(&m->deadline, deadline_due);
}

void kafka_member_linger(struct kafka_member *m, bool on)
{
    if (m->state != KAFKA_MEMBER_IN)
        return;
    if (on)
        loop_timer_start(control_of(m), &m->linger, KAFKA_LINGER_NS);
    else
        loop_timer_stop(control_of(m), &m->linger);
}

void kafka_member_free(struct kafka_member *m)
{
    if (m->state != KAFKA_MEMBER_GONE)
        dismantle(m);
    if (m->rk)
        end(m);
    member_free(m);
}
