/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in a temporary folder, its notices, and short ways to append and read. One store at a time.
 */
#ifndef LEAT_TESTS_STORE_RIG_H
#define LEAT_TESTS_STORE_RIG_H

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channels/log/store.h"

struct rig {
    char root[64], dir[80];
    struct clock_fake clock;
    struct log_store *store;
    uint64_t segment_bytes;
    bool read_only;
    struct disk *disk;
    struct diag diag;
    char said[2048]; /* the codes of notices, one behind the other */
};

static inline void rig_notice(void *arg, int severity, const char *code, const char *text)
{
    struct rig *r = arg;
    (void)severity;
    size_t len = strlen(r->said);
    snprintf(r->said + len, sizeof r->said - len, "%s ", code);
    if (getenv("SHOW"))
        fprintf(stderr, "%s: %s\n", code, text);
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    strcpy(r->root, "/tmp/leat-store-XXXXXX");
    assert(mkdtemp(r->root));
    snprintf(r->dir, sizeof r->dir, "%s/log", r->root);
    clock_fake_init(&r->clock, 0, 1000000000);
    r->segment_bytes = LOG_SEGMENT_BYTES_MIN;
    r->disk = disk_system();
}

static inline enum err rig_open(struct rig *r)
{
    struct log_store_options o = {.disk = r->disk,
                                  .clock = &r->clock.base,
                                  .dir = r->dir,
                                  .segment_bytes = r->segment_bytes,
                                  .read_only = r->read_only,
                                  .notice = rig_notice,
                                  .arg = r};
    r->said[0] = 0;
    r->diag.text[0] = 0;
    return log_store_open(&o, &r->store, &r->diag);
}

static inline void rig_close(struct rig *r)
{
    log_store_close(r->store);
    r->store = NULL;
}

static inline void rig_fini(struct rig *r)
{
    char command[128];
    log_store_close(r->store);
    snprintf(command, sizeof command, "rm -rf %s", r->root);
    assert(system(command) == 0);
}

/* An event whose data is `bytes` bytes that follow from `number`, which is its id. */
static inline const struct ce_event *rig_event(uint64_t number, size_t bytes)
{
    char id[24], *data = malloc(bytes + 1);
    struct ce_builder *b = malloc(sizeof *b);
    assert(data && b);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(number * 31 + i * 7);
    snprintf(id, sizeof id, "%" PRIu64, number);
    ce_builder_init(b);
    ce_builder_set(b, SLICE("id"), CE_STRING, slice_str(id));
    ce_builder_set(b, SLICE("source"), CE_URI_REFERENCE, SLICE("/rig"));
    ce_builder_set(b, SLICE("type"), CE_STRING, SLICE("rig.event"));
    ce_builder_data(b, CE_DATA_BYTES, slice_of(data, bytes));
    const struct ce_event *e = NULL;
    enum err err = ce_builder_seal(b, CE_EVENT_BYTES_MAX, &e, NULL);
    assert(err == OK);
    (void)err;
    free(b);
    free(data);
    return e;
}

/* Appends one event; its sequence, or 0. */
static inline uint64_t rig_append(struct rig *r, uint32_t channel, uint64_t number, size_t bytes)
{
    struct log_write w = {.kind = LOG_EVENT, .channel = channel, .spread = 7, .event = rig_event(number, bytes)};
    enum err e = log_store_append(r->store, &w, 1);
    ce_event_unref(w.event);
    return e ? 0 : w.sequence;
}

static inline enum err rig_object(struct rig *r, enum log_kind kind, enum log_object_type type, uint32_t number,
                                  const char *name, const char *value)
{
    struct log_object o = {.type = type, .number = number, .name = slice_str(name), .value = slice_str(value)};
    struct log_write w = {.kind = kind, .object = &o};
    return log_store_append(r->store, &w, 1);
}

static inline bool rig_commit(struct rig *r)
{
    return log_store_commit(r->store) == OK;
}

/* Reads all records of the channel that can be read: their sequences into *out, as many as there is room; how many. */
static inline size_t rig_read(struct rig *r, uint32_t channel, uint64_t from, uint64_t *out, size_t room)
{
    struct log_reader *reader;
    struct log_view v;
    size_t n = 0;
    if (log_reader_new(r->store, channel, from, &reader) != OK)
        return 0;
    while (log_reader_next(reader, &v) == OK)
        if (n < room)
            out[n++] = v.record.sequence;
    log_reader_free(reader);
    return n;
}

#endif
