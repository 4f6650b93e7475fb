/* SPDX-License-Identifier: Apache-2.0
 *
 * What K does for subscriptions: where their groups stand, where new ones begin, and that groups go.
 *
 * A new group's start offsets are read from the topic before the group is looked at, and committed after. So when two
 * processes make one group at the same time, both commit offsets of a moment before either of them was ready, and what
 * is appended after that is skipped by neither, whichever commit comes last.
 */
#include "kafka_member.h"

#include <stdlib.h>
#include <unistd.h>

#define AGAIN_US 50000
#define REQUEST_MS 3600000 /* the most that there is */

/* ---- the handle ---- */

/* Requests about groups need a consumer, which never joins one: on a producer, librdkafka 2.0.2 ends the program when a
 * group's coordinator has moved or does not know yet that it is one. NULL: the job's error says why. */
static rd_kafka_t *handle(struct bus_subscription *s)
{
    struct kafka_bus *k = s->bus;
    struct diag d = {0};
    const char *const own[] = {"group.id", s->group, NULL}; /* one that is known to be allowed; it is not entered */
    if (k->groups)
        return k->groups;
    struct rd_kafka_conf_s *conf = kafka_client_conf(k->client, own);
    s->job.err = conf ? kafka_client_open(k->client, RD_KAFKA_CONSUMER, conf, &k->groups, &d) : ERR_NOMEM;
    if (s->job.err)
        snprintf(s->job.text, sizeof s->job.text, "%.300s", d.text);
    else
        rd_kafka_poll_set_consumer(k->groups);
    return k->groups;
}

void kafka_groups_quit(struct kafka_bus *k)
{
    k->groups_stuck = false;
    if (k->groups)
        rd_kafka_destroy_flags(k->groups, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    k->groups = NULL;
}

/* At the end of a job: a handle with a request that nobody waits for any more goes. */
static void handle_check(struct kafka_bus *k)
{
    if (k->groups_stuck)
        kafka_groups_quit(k);
}

/* What it has to say by itself is said by others too. */
static void pass_over_events(rd_kafka_t *rk)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(queue, 0)))
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

/* ---- one request about a group, and its answer ---- */

/* NULL: none came in time, or nobody waits any more; the job's error. */
static rd_kafka_event_t *wait_for(rd_kafka_queue_t *queue, struct kafka_job *j)
{
    rd_kafka_event_t *event = NULL;
    for (int ms = 0; ms < KAFKA_ASK_MS + 1000 && !event && !atomic_load(&j->bus->clerk.hurry); ms += 100)
        event = rd_kafka_queue_poll(queue, 100);
    if (event)
        return event;
    j->bus->groups_stuck = true;
    j->err = ERR_UNAVAILABLE;
    snprintf(j->text, sizeof j->text, "no broker answered in time");
    return NULL;
}

static rd_kafka_event_t *answer_of(rd_kafka_queue_t *queue, struct bus_subscription *s)
{
    struct kafka_job *j = &s->job;
    rd_kafka_event_t *event = wait_for(queue, j);
    if (!event || !rd_kafka_event_error(event))
        return event;
    j->err = kafka_client_err(rd_kafka_event_error(event));
    snprintf(j->text, sizeof j->text, "group %s: %s", s->group, rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
    return NULL;
}

/* librdkafka 2.0.2 ends the program when a request to a group's coordinator timed out in it and the coordinator is
 * there again afterwards. So it never does: whoever asks waits by himself, and who has waited in vain drops the handle.
 */
static rd_kafka_AdminOptions_t *options_of(rd_kafka_t *rk, rd_kafka_admin_op_t op)
{
    char text[200];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, op);
    if (options)
        rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_MS, text, sizeof text);
    return options;
}

void kafka_offsets_ask(rd_kafka_t *rk, const char *group, const rd_kafka_topic_partition_list_t *list,
                       rd_kafka_queue_t *queue)
{
    rd_kafka_AdminOptions_t *options = options_of(rk, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets_t *request = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_ListConsumerGroupOffsets(rk, &request, 1, options, queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(request);
    rd_kafka_AdminOptions_destroy(options);
}

const rd_kafka_topic_partition_list_t *kafka_offsets_answer(rd_kafka_event_t *event, rd_kafka_resp_err_t *err)
{
    size_t count = 0;
    const rd_kafka_ListConsumerGroupOffsets_result_t *result = rd_kafka_event_ListConsumerGroupOffsets_result(event);
    const rd_kafka_group_result_t **groups =
        result ? rd_kafka_ListConsumerGroupOffsets_result_groups(result, &count) : NULL;
    *err = rd_kafka_event_error(event);
    if (!*err && count == 1 && rd_kafka_group_result_error(groups[0]))
        *err = rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
    if (!*err && count != 1)
        *err = RD_KAFKA_RESP_ERR__FAIL;
    return *err ? NULL : rd_kafka_group_result_partitions(groups[0]);
}

bool kafka_offsets_count(const rd_kafka_topic_partition_t *p)
{
    return p->offset >= 0 && !slice_eq(slice_of(p->metadata, p->metadata_size), SLICE(KAFKA_REMOVED));
}

/* Where the group stands, with the metadata; the job's error where it cannot be learned. */
static rd_kafka_topic_partition_list_t *group_offsets(struct bus_subscription *s, rd_kafka_t *rk,
                                                      const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *found = NULL;
    pass_over_events(rk);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    kafka_offsets_ask(rk, s->group, list, queue);
    rd_kafka_event_t *event = answer_of(queue, s);
    if (event) {
        rd_kafka_resp_err_t err;
        const rd_kafka_topic_partition_list_t *offsets = kafka_offsets_answer(event, &err);
        if (offsets)
            found = rd_kafka_topic_partition_list_copy(offsets);
        else
            s->job.err = kafka_client_err(err);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return found;
}

/* Commits for a group without members. The broker refuses (UNKNOWN_MEMBER_ID) when it has some: *live, and no error. */
static void commit_for(struct bus_subscription *s, rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *list,
                       bool *live)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options = options_of(rk, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    rd_kafka_AlterConsumerGroupOffsets_t *request = rd_kafka_AlterConsumerGroupOffsets_new(s->group, list);
    rd_kafka_AlterConsumerGroupOffsets(rk, &request, 1, options, queue);
    rd_kafka_event_t *event = answer_of(queue, s);
    size_t count = 0;
    const rd_kafka_group_result_t **groups = NULL;
    if (event)
        groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
            rd_kafka_event_AlterConsumerGroupOffsets_result(event), &count);
    for (size_t g = 0; g < count; g++) {
        const rd_kafka_error_t *error = rd_kafka_group_result_error(groups[g]);
        const rd_kafka_topic_partition_list_t *done = rd_kafka_group_result_partitions(groups[g]);
        rd_kafka_resp_err_t err = error ? rd_kafka_error_code(error) : 0;
        for (int i = 0; !err && done && i < done->cnt; i++)
            err = done->elems[i].err;
        *live |= err == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
        if (err && err != RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID) {
            s->job.err = kafka_client_err(err);
            snprintf(s->job.text, sizeof s->job.text, "group %s: %s", s->group, rd_kafka_err2str(err));
        }
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AlterConsumerGroupOffsets_destroy(request);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
}

/* ---- where a new group begins ---- */

static void add_parts(rd_kafka_topic_partition_list_t *list, const struct kafka_topic *t, int64_t offset)
{
    const struct kafka_parts *parts = atomic_load(&t->parts);
    for (int32_t i = 0; parts && i < parts->count; i++)
        rd_kafka_topic_partition_list_add(list, t->name, i)->offset = offset;
}

/* All partitions of the channel, as far as they are known, each with this offset. */
static rd_kafka_topic_partition_list_t *list_of(const struct bus_channel *c, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (size_t t = 0; t < c->topics.count; t++)
        add_parts(list, &c->list[t], offset);
    return list;
}

static enum err look(struct bus_subscription *s, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int64_t which)
{
    enum err err = kafka_topics_offsets(s->bus, rk, list, which);
    for (int i = 0; !err && i < list->cnt; i++)
        err = list->elems[i].err ? kafka_client_err(list->elems[i].err) : OK;
    if (err)
        snprintf(s->job.text, sizeof s->job.text, "the offsets of topic %s cannot be learned: %s", list->elems[0].topic,
                 err_name(err));
    return s->job.err = err;
}

/* An offset of the channel names one of a partition: kafka_offset * partitions + partition. */
static int64_t in_partition(uint64_t offset, int32_t partition, int32_t partitions)
{
    uint64_t p = (uint64_t)partition, n = (uint64_t)partitions;
    uint64_t at = offset <= p ? 0 : (offset - p + n - 1) / n;
    return at > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)at;
}

/* `list`: filled with where each partition begins. `ends` are its ends. */
static enum err starts(struct bus_subscription *s, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                       const rd_kafka_topic_partition_list_t *ends)
{
    enum err err = OK;
    int32_t partitions = atomic_load(&s->channel->topics.partitions);
    if (s->start.kind == BUS_START_TIME)
        err = look(s, rk, list,
                   s->start.wall_ns < 0 ? 0 : (s->start.wall_ns + (int64_t)NS_PER_MS - 1) / (int64_t)NS_PER_MS);
    else if (s->start.kind != BUS_START_LATEST)
        err = look(s, rk, list, RD_KAFKA_OFFSET_BEGINNING);
    for (int i = 0; !err && i < list->cnt; i++) {
        rd_kafka_topic_partition_t *at = &list->elems[i];
        int64_t end = ends->elems[i].offset;
        if (s->start.kind == BUS_START_LATEST || at->offset < 0) /* of a time: nothing is that young */
            at->offset = end;
        if (s->start.kind == BUS_START_OFFSET) {
            int64_t wanted = in_partition(s->start.offset, at->partition, partitions > 0 ? partitions : 1);
            at->offset = wanted > end ? end : wanted > at->offset ? wanted : at->offset;
        }
    }
    return err;
}

static size_t topic_index(const struct bus_channel *c, const char *name)
{
    size_t t = 0;
    while (t < c->topics.count && strcmp(c->list[t].name, name) != 0)
        t++;
    return t;
}

/* Commits a start for the partitions of `list` that `found` has no offset of. */
static void begin(struct bus_subscription *s, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                  rd_kafka_topic_partition_list_t *ends)
{
    bool live = false;
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(8);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *at =
            rd_kafka_topic_partition_list_find(s->found, list->elems[i].topic, list->elems[i].partition);
        if (!at || !kafka_offsets_count(at))
            rd_kafka_topic_partition_list_add(none, list->elems[i].topic, list->elems[i].partition)->offset =
                list->elems[i].offset;
    }
    if (none->cnt > 0)
        commit_for(s, rk, none, &live);
    for (int i = 0; !live && !s->job.err && i < none->cnt; i++) {
        rd_kafka_topic_partition_t *at =
            rd_kafka_topic_partition_list_find(s->found, none->elems[i].topic, none->elems[i].partition);
        if (!at)
            at = rd_kafka_topic_partition_list_add(s->found, none->elems[i].topic, none->elems[i].partition);
        at->offset = none->elems[i].offset;
        rd_kafka_mem_free(rk, at->metadata);
        at->metadata = NULL;
        at->metadata_size = 0;
    }
    for (int i = 0; i < ends->cnt; i++)
        kafka_channel_end_raise(s->channel, topic_index(s->channel, ends->elems[i].topic), ends->elems[i].partition,
                                ends->elems[i].offset);
    rd_kafka_topic_partition_list_destroy(none);
}

static void start(struct bus_subscription *s, rd_kafka_t *rk)
{
    rd_kafka_topic_partition_list_t *ends = NULL, *list = list_of(s->channel, RD_KAFKA_OFFSET_END);
    s->job.err = OK;
    s->job.text[0] = '\0';
    if (!rk)
        s->job.err = ERR_NOMEM;
    else if (list->cnt == 0) {
        s->job.err = ERR_UNAVAILABLE;
        snprintf(s->job.text, sizeof s->job.text, "the topic %s is not known yet", s->channel->list[0].name);
    } else if (!look(s, rk, list, RD_KAFKA_OFFSET_END)) {
        ends = rd_kafka_topic_partition_list_copy(list);
        if (!starts(s, rk, list, ends) && (s->found = group_offsets(s, rk, list)))
            begin(s, rk, list, ends);
    }
    if (ends)
        rd_kafka_topic_partition_list_destroy(ends);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Partitions that were made a moment ago have a leader a moment later, and so it is with a group's coordinator. */
void kafka_offsets_start(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    const struct clock *clock = clock_system();
    uint64_t until = clock_monotonic_ns(clock) + KAFKA_ASK_MS * NS_PER_MS;
    start(s, handle(s));
    handle_check(s->bus);
    while ((j->err == ERR_UNAVAILABLE || j->err == ERR_NOTFOUND) && clock_monotonic_ns(clock) < until &&
           !atomic_load(&s->bus->clerk.hurry)) {
        usleep(AGAIN_US);
        if (s->found)
            rd_kafka_topic_partition_list_destroy(s->found);
        s->found = NULL;
        start(s, handle(s));
        handle_check(s->bus);
    }
}

void kafka_offsets_look(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    rd_kafka_t *rk = handle(s);
    rd_kafka_topic_partition_list_t *list = list_of(s->channel, RD_KAFKA_OFFSET_INVALID);
    if (rk && list->cnt > 0)
        s->found = group_offsets(s, rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    handle_check(s->bus);
}

/* The partitions of topics that were made anew, which are taken as seen to. */
static rd_kafka_topic_partition_list_t *list_anew(struct bus_subscription *s)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (size_t t = 0; t < s->channel->topics.count; t++)
        if (atomic_exchange(&s->cursors[t].anew, false))
            add_parts(list, &s->channel->list[t], RD_KAFKA_OFFSET_BEGINNING);
    return list;
}

/* What it had committed was of a topic that is no more. One with members is left to them: they notice themselves. */
void kafka_offsets_anew(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    rd_kafka_t *rk = handle(s);
    rd_kafka_topic_partition_list_t *list = list_anew(s);
    bool live = false;
    if (!rk)
        j->err = ERR_UNAVAILABLE;
    else if (list->cnt && !look(s, rk, list, RD_KAFKA_OFFSET_BEGINNING))
        commit_for(s, rk, list, &live);
    for (int i = 0; j->err && i < list->cnt; i++)
        atomic_store(&s->cursors[topic_index(s->channel, list->elems[i].topic)].anew, true);
    if (!j->err && !live)
        s->found = list;
    else
        rd_kafka_topic_partition_list_destroy(list);
    handle_check(s->bus);
}

/* ---- the end of a group ---- */

/* Where groups cannot be deleted, a commit says that it is to count as deleted. */
static void bury(struct bus_subscription *s, rd_kafka_t *rk)
{
    bool live = false;
    rd_kafka_topic_partition_list_t *list = list_of(s->channel, 0);
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *at = &list->elems[i];
        int64_t end = kafka_channel_end(s->channel, topic_index(s->channel, at->topic), at->partition);
        at->offset = end > 0 ? end : 0;
        at->metadata = rd_kafka_mem_malloc(rk, sizeof KAFKA_REMOVED - 1);
        memcpy(at->metadata, KAFKA_REMOVED, sizeof KAFKA_REMOVED - 1);
        at->metadata_size = sizeof KAFKA_REMOVED - 1;
    }
    if (list->cnt > 0)
        commit_for(s, rk, list, &live);
    rd_kafka_topic_partition_list_destroy(list);
}

static rd_kafka_resp_err_t delete_group(struct bus_subscription *s, rd_kafka_t *rk)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options = options_of(rk, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_DeleteGroup_t *request = rd_kafka_DeleteGroup_new(s->group);
    rd_kafka_DeleteGroups(rk, &request, 1, options, queue);
    rd_kafka_event_t *event = wait_for(queue, &s->job);
    rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (!err) {
        size_t count = 0;
        const rd_kafka_group_result_t **groups =
            rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &count);
        const rd_kafka_error_t *error = count ? rd_kafka_group_result_error(groups[0]) : NULL;
        err = error ? rd_kafka_error_code(error) : 0;
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_DeleteGroup_destroy(request);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(queue);
    return err;
}

/* A cluster whose controller is no broker of it takes no such requests: librdkafka's mock, where this one would end the
 * program (an assertion of 2.0.2, when a request to a group's coordinator is not known there). */
static bool deletes_groups(rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *metadata;
    bool found = false;
    if (rd_kafka_metadata(rk, 0, NULL, &metadata, KAFKA_ASK_MS))
        return true; /* nobody answers: neither will they to what follows */
    int32_t controller = rd_kafka_controllerid(rk, 0);
    for (int i = 0; i < metadata->broker_cnt; i++)
        found |= metadata->brokers[i].id == controller;
    rd_kafka_metadata_destroy(metadata);
    return found;
}

/* One with members is somebody else's too, and stays. */
void kafka_offsets_remove(struct kafka_job *j)
{
    struct bus_subscription *s = container_of(j, struct bus_subscription, job);
    rd_kafka_t *rk = handle(s);
    if (!rk)
        return;
    rd_kafka_resp_err_t err = deletes_groups(rk) ? delete_group(s, rk) : RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE;
    if (err == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE || err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        bury(s, rk);
    else if (err && err != RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND && err != RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP) {
        j->err = kafka_client_err(err);
        snprintf(j->text, sizeof j->text, "group %s stays: %s", s->group, rd_kafka_err2str(err));
    }
    handle_check(s->bus);
}
