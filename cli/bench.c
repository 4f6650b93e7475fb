/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat bench disk`: what the disk itself can do, so that one knows what to expect of the log on it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "clock.h"
#include "chosen_dir.h"
#include "disk_probe.h"
#include "file_system.h"
#include "text.h"

#define FILE_BYTES (64ull << 20) /* as a segment of the log */
#define RECORD_BYTES_MAX (FILE_BYTES / 1000)

static const unsigned batches[] = {1, 8, 32, 128, 256, 1000};
#define BATCHES (sizeof batches / sizeof batches[0])
#define ROUNDS 5 /* through all sizes, so that what else the machine does meets each of them */

struct bench {
    const struct command *command;
    char *dir;              /* owned */
    uint64_t size, each_ns; /* of a record; of one run */
    struct file_system file_system;
    struct disk_probe_result results[BATCHES];
};

static enum err measure(struct bench *b, struct diag *d)
{
    struct disk_probe *p;
    enum err e = disk_probe_new(b->dir, FILE_BYTES, &p, d);
    if (e != OK)
        return e;
    for (size_t i = 0; e == OK && i < ROUNDS * BATCHES; i++)
        e = disk_probe_run(p, batches[i % BATCHES], b->size, b->each_ns / ROUNDS, &b->results[i % BATCHES], d);
    disk_probe_free(p);
    return e;
}

static const double quantiles[] = {0.5, 0.99, 1};

static double per_second(const struct disk_probe_result *r)
{
    return (double)r->records * (double)NS_PER_S / (double)r->elapsed_ns;
}

static void put_latency(struct disk_probe_result *r)
{
    double us[3];
    for (size_t i = 0; i < 3; i++)
        us[i] = (double)disk_probe_quantile(r, quantiles[i]) / NS_PER_US;
    printf("{\"p50Us\":%.1f,\"p99Us\":%.1f,\"maxUs\":%.1f}", us[0], us[1], us[2]);
}

static void print_json(struct bench *b)
{
    struct buf text;
    buf_init(&text, 1u << 20);
    buf_put_json_string(&text, slice_str(b->dir));
    printf("{\"directory\":%.*s,\"fileSystem\":\"%s\",\"recordBytes\":%llu,\"secondsEach\":%.3f,\"fdatasync\":",
           SLICE_ARG(buf_slice(&text)), b->file_system.name, (unsigned long long)b->size,
           (double)b->each_ns / (double)NS_PER_S);
    put_latency(&b->results[0]);
    printf(",\"batches\":[");
    for (size_t i = 0; i < BATCHES; i++) {
        struct disk_probe_result *r = &b->results[i];
        printf("%s{\"records\":%u,\"recordsPerSecond\":%.1f,\"bytesPerSecond\":%.0f,\"syncs\":%llu,\"fdatasync\":",
               i ? "," : "", batches[i], per_second(r), per_second(r) * (double)b->size, (unsigned long long)r->syncs);
        put_latency(r);
        putchar('}');
    }
    printf("]}\n");
    buf_fini(&text);
}

static void latency_cell(struct ask_table *t, uint64_t ns)
{
    char text[32];
    if (ns < 10 * NS_PER_MS)
        snprintf(text, sizeof text, "%.0f us", (double)ns / NS_PER_US);
    else
        snprintf(text, sizeof text, "%.1f ms", (double)ns / NS_PER_MS);
    table_cell(t, text);
}

static void print_text(struct bench *b)
{
    static const char *const heads[] = {"BATCH", "RECORDS/S", "MIB/S", "FDATASYNC P50", "P99", "MAX"};
    struct ask_table *t = table_new(6);
    char text[32];
    printf("%s (%s): batches of records of %llu bytes, each batch one write and one fdatasync, %.2g s each\n\n", b->dir,
           b->file_system.name, (unsigned long long)b->size, (double)b->each_ns / (double)NS_PER_S);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        table_cell(t, heads[i]);
    for (size_t i = 0; i < BATCHES; i++) {
        struct disk_probe_result *r = &b->results[i];
        snprintf(text, sizeof text, "%u", batches[i]);
        table_cell(t, text);
        snprintf(text, sizeof text, "%.0f", per_second(r));
        table_cell(t, text);
        snprintf(text, sizeof text, "%.1f", per_second(r) * (double)b->size / (1 << 20));
        table_cell(t, text);
        for (size_t q = 0; q < 3; q++)
            latency_cell(t, disk_probe_quantile(r, quantiles[q]));
    }
    table_print(t);
    if (b->file_system.warning)
        printf("\n%s: %s\n", b->file_system.name, b->file_system.warning);
}

/* False (said) when an option is wrong. */
static bool read_options(const struct invocation *in, struct bench *b)
{
    struct diag d = {0};
    const char *seconds = option_value(in, "seconds", "10"), *size = option_value(in, "size", "1024");
    char *end;
    const double s = strtod(seconds, &end);
    if (end == seconds || *end || !isfinite(s) || s <= 0 || s > 3600) {
        usage_error(in->command, "--seconds: '%s' is no number above 0 and up to 3600.", seconds);
        return false;
    }
    b->each_ns = (uint64_t)(s * (double)NS_PER_S / BATCHES);
    if (bytes_parse(slice_str(size), &b->size, &d) != OK) {
        usage_error(in->command, "--size: %s", d.text);
        return false;
    }
    if (b->size == 0 || b->size > RECORD_BYTES_MAX) {
        usage_error(in->command, "--size: %s is out of range; it can be 1 to %llu bytes.", size,
                    (unsigned long long)RECORD_BYTES_MAX);
        return false;
    }
    return true;
}

static int run(const struct invocation *in)
{
    struct diag d = {0};
    struct bench b = {.command = in->command};
    bool json;
    if (!wants_json(in, &json) || !read_options(in, &b))
        return EXIT_CODE_USAGE;
    b.dir = chosen_dir(in->command, in->operand_count ? in->operands[0] : NULL);
    if (!b.dir)
        return EXIT_CODE_USAGE;
    enum err e = file_system_of(b.dir, &b.file_system, &d);
    if (e == OK)
        e = measure(&b, &d);
    int code = e == OK ? EXIT_CODE_OK : fail(in->command, EXIT_CODE_FAILED, "%s.", d.text);
    if (e == OK)
        (json ? print_json : print_text)(&b);
    for (size_t i = 0; i < BATCHES; i++)
        disk_probe_result_fini(&b.results[i]);
    free(b.dir);
    return code;
}

static const struct option_spec options[] = {
    {"seconds", 0, "N", "How long in all. Default: 10.", false},
    {"size", 0, "SIZE", "Of a record. Default: 1024.", false},
    {"output", 'o', "FORM", "text or json. Default: text.", false},
    {0},
};

static const struct command bench_disk = {
    .name = "bench disk",
    .summary = "Measure how fast a disk makes records durable",
    .operands = "[DIR]",
    .operand_max = 1,
    .text = "Writes into a file of 64 MiB in DIR (default: the data directory), preallocated as the log's segments are "
            "and\n"
            "removed afterwards: batches of records, each batch one write and one fdatasync. The log can be no faster "
            "than\n"
            "this; beside a running server both are slower.",
    .examples = "  leat bench disk /var/lib/leat\n  leat bench disk --seconds 60 -o json",
    .options = options,
    .run = run,
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Measure this machine",
    .operands = "disk",
    .examples = "  leat bench disk",
    .subcommands = (const struct command *const[]){&bench_disk, NULL},
};
