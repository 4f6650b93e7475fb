/* SPDX-License-Identifier: Apache-2.0 */
/* room: channels */
/* The log's store alone: 1 KiB events appended and committed in batches, beside bare write and fdatasync of as many
 * bytes in a preallocated file; writing without sync; reading back; opening; appending with the keeper at work. In a
 * folder made in the one named by the first argument, else in the current one; with a second one, "compare", only the
 * comparison. Printed, never asserted. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "channels/log/store.h"
#include "common.h"

#define RECORD 1024
#define BATCH_MAX 256
#define SECONDS 3.0 /* for each of the two that are compared */
#define TURNS 12

static char root[400];

static const struct ce_event *event(void)
{
    static char data[RECORD];
    static struct ce_builder b;
    const struct ce_event *e;
    memset(data, 'x', sizeof data);
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("7f1d4a58-6b0e-4a0b-9a6e-0f6c1b0d9c11"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("https://github.com/example/repository"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, SLICE("dev.knative.source.github.push"));
    ce_builder_data(&b, CE_DATA_BYTES, slice_of(data, sizeof data));
    must(ce_builder_seal(&b, 1 << 20, &e, NULL) == OK, "an event");
    return e;
}

static void notice(void *arg, int severity, const char *code, const char *text)
{
    (void)arg, (void)severity;
    fprintf(stderr, "%s: %s\n", code, text);
}

static struct log_store *opened(const char *name)
{
    char dir[500];
    struct diag d;
    struct log_store *s;
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    struct log_store_options o = {.disk = disk_system(), .clock = clock_system(), .dir = dir, .notice = notice};
    enum err e = log_store_open(&o, &s, &d);
    must(e == OK, e ? d.text : "open");
    return s;
}

static void batch_of(const struct ce_event *e, struct log_write *writes, size_t batch)
{
    for (size_t i = 0; i < batch; i++)
        writes[i] = (struct log_write){.kind = LOG_EVENT, .channel = 1, .event = e};
}

static void written(const struct ce_event *e)
{
    struct log_store *s = opened("written");
    struct log_write writes[BATCH_MAX];
    batch_of(e, writes, BATCH_MAX);
    const unsigned records = 1000000;
    double start = now();
    for (unsigned i = 0; i < records; i += BATCH_MAX)
        must(log_store_append(s, writes, BATCH_MAX) == OK, "append");
    printf("append without sync               %8.0f records/s\n", records / (now() - start));
    log_store_close(s);
}

struct bare {
    int file;
    char *data;
    uint64_t offset;
};

/* A new file whenever one is full, as the log has to make; its making is not counted. */
static void bare_next(struct bare *b, size_t bytes)
{
    char path[500];
    if (b->file >= 0 && b->offset + bytes <= LOG_SEGMENT_BYTES)
        return;
    if (b->file >= 0)
        close(b->file);
    snprintf(path, sizeof path, "%s/bare", root);
    unlink(path);
    b->file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    b->offset = 0;
    must(b->file >= 0 && posix_fallocate(b->file, 0, LOG_SEGMENT_BYTES) == 0 && fsync(b->file) == 0, path);
}

static void *prepare(void *arg)
{
    struct log_store *s = ((void **)arg)[0];
    _Atomic bool *end = ((void **)arg)[1];
    while (!*end) {
        must(log_store_prepare(s, 0) == OK, "prepare");
        usleep(20000);
    }
    return NULL;
}

/* The log and the bare file take turns, so that both meet the same noise. */
static void compare(const struct ce_event *e, size_t batch)
{
    struct log_store *s = opened("synced");
    struct log_write writes[BATCH_MAX];
    struct bare b = {.file = -1, .data = calloc(BATCH_MAX, 2 * RECORD)};
    _Atomic bool end = false;
    void *args[] = {s, (void *)&end};
    pthread_t thread;
    double seconds[2] = {0};
    uint64_t records[2] = {0};
    must(b.data && pthread_create(&thread, NULL, prepare, args) == 0, "a thread");
    batch_of(e, writes, batch);
    memset(b.data, 'x', BATCH_MAX * 2 * RECORD);
    for (int turn = 0; turn < 2 * TURNS; turn++) {
        double spent = 0;
        while (spent < SECONDS / TURNS) {
            size_t bytes = batch * (size_t)writes[0].bytes;
            if (turn % 2)
                bare_next(&b, bytes);
            double start = now();
            if (turn % 2) {
                must(pwrite(b.file, b.data, bytes, (off_t)b.offset) == (ssize_t)bytes && fdatasync(b.file) == 0,
                     "write");
                b.offset += bytes;
            } else {
                must(log_store_append(s, writes, batch) == OK && log_store_commit(s) == OK, "append");
            }
            spent += now() - start;
            records[turn % 2] += batch;
        }
        seconds[turn % 2] += spent;
    }
    end = true;
    pthread_join(thread, NULL);
    double log = (double)records[0] / seconds[0], disk = (double)records[1] / seconds[1];
    printf("append and commit, batches of %3zu %8.0f records/s, bare write+fdatasync %8.0f: %.0f %%\n", batch, log,
           disk, 100 * log / disk);
    log_store_close(s);
    close(b.file);
    free(b.data);
}

static void read_back(const char *name)
{
    double start = now();
    struct log_store *s = opened(name);
    double open_s = now() - start;
    struct log_reader *r;
    struct log_view v;
    must(log_reader_new(s, 1, 0, &r) == OK, "reader");
    uint64_t count = 0, bytes = 0;
    start = now();
    while (log_reader_next(r, &v) == OK)
        count++, bytes += v.payload.len;
    double read_s = now() - start;
    printf("open                              %8.0f ms for %.2f GiB\n", open_s * 1e3, (double)bytes / (1 << 30));
    printf("read back                         %8.0f records/s, %.2f GiB/s\n", (double)count / read_s,
           (double)bytes / read_s / (1 << 30));
    log_reader_free(r);
    log_store_close(s);
}

static void scan_all(const char *name)
{
    char command[600];
    snprintf(command, sizeof command, "rm %s/%s/*.idx", root, name);
    must(system(command) == 0, "removing the indexes");
    double start = now();
    log_store_close(opened(name));
    printf("open without any index            %8.0f ms\n", (now() - start) * 1e3);
}

/* ---- the keeper at work beside the writer ---- */

/* Of each 50,000 records, about a segment, 2,500 are needed. */
static bool needed(void *arg, uint32_t channel, uint64_t first, uint64_t last)
{
    (void)arg, (void)channel;
    return first % 50000 < 2500 || first / 50000 != last / 50000;
}

static bool wanted(void *arg, const struct log_view *v)
{
    return needed(arg, v->record.channel, v->record.sequence, v->record.sequence);
}

struct keeper {
    struct log_store *store;
    _Atomic bool work, end;
    double seconds; /* spent on reclaiming that did something */
    struct log_reclaimed sum;
};

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct log_policy p = {.needed = needed, .wanted = wanted, .arg = k, .below = UINT64_MAX};
    while (!k->end) {
        must(log_store_prepare(k->store, 0) == OK, "prepare");
        struct log_reclaimed out = {0};
        double start = now();
        must(!k->work || log_store_reclaim(k->store, &p, &out) == OK, "reclaim");
        if (out.bytes) {
            k->seconds += now() - start;
            k->sum.bytes += out.bytes;
            k->sum.segments_compacted += out.segments_compacted;
        }
        usleep(50000);
    }
    return NULL;
}

/* Turns with the keeper at work and without, so that both meet the same noise. */
static void with_keeper(const struct ce_event *e)
{
    struct keeper k = {.store = opened("kept")};
    struct log_write writes[BATCH_MAX];
    double seconds[2] = {0};
    uint64_t records[2] = {0};
    pthread_t thread;
    batch_of(e, writes, BATCH_MAX);
    must(pthread_create(&thread, NULL, keep, &k) == 0, "a thread");
    for (int turn = 0; turn < 24; turn++) {
        k.work = turn % 2;
        double start = now(), end;
        do {
            must(log_store_append(k.store, writes, BATCH_MAX) == OK && log_store_commit(k.store) == OK, "append");
            records[turn % 2] += BATCH_MAX;
            end = now();
        } while (end - start < SECONDS / 4);
        seconds[turn % 2] += end - start;
    }
    k.end = true;
    pthread_join(thread, NULL);
    double without = (double)records[0] / seconds[0], with = (double)records[1] / seconds[1];
    printf("append and commit, keeper idle    %8.0f records/s, at work %8.0f: %.0f %%\n", without, with,
           100 * with / without);
    printf("compaction                        %8.0f segments, %.2f GiB/s given back while it lasts\n",
           (double)k.sum.segments_compacted, (double)k.sum.bytes / k.seconds / (1 << 30));
    log_store_close(k.store);
}

int main(int count, char **words)
{
    static const size_t batches[] = {1, 32, 128, 256};
    char command[500];
    setbuf(stdout, NULL);
    snprintf(root, sizeof root, "%s/bench-store-XXXXXX", count > 1 ? words[1] : ".");
    must(mkdtemp(root) != NULL, root);
    const struct ce_event *e = event();
    bool all = count < 3 || strcmp(words[2], "compare") != 0;
    if (all) {
        written(e);
        read_back("written");
        scan_all("written");
    }
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++)
        compare(e, batches[i]);
    if (all)
        with_keeper(e);
    ce_event_unref(e);
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command) != 0;
}
