/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/* Filter evaluations per second on one core. Printed, never asserted. Each kind is measured on an event that matches
 * and on one that does not; the events alternate, so that the processor cannot learn the answer by heart. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ce_http.h"
#include "filter.h"

#define ROUNDS 10000000
#define REPEATS 5 /* the best is printed */

/* Of the processor, so that who else uses it counts less. */
static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static const struct ce_event *decode(const char *json)
{
    const struct ce_event *e;
    struct diag d;
    if (ce_json_decode(slice_str(json), &(struct ce_http_limits){1 << 20, 1}, &e, &d)) {
        fprintf(stderr, "%s\n", d.text);
        exit(1);
    }
    return e;
}

static struct filter *attribute(enum filter_test test, const char *name, const char *value)
{
    struct filter *f;
    struct diag d;
    if (filter_attribute(test, slice_str(name), slice_str(value), &f, &d))
        exit(1);
    return f;
}

static struct filter *cesql(const char *text)
{
    struct filter *f;
    struct diag d;
    if (filter_cesql(slice_str(text), &f, &d)) {
        fprintf(stderr, "%d: %s\n", d.column, d.text);
        exit(1);
    }
    return f;
}

static void measure(const char *what, struct filter *f, const struct ce_event *const events[2])
{
    double best = 0;
    unsigned long matched = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        double start = cpu_ns();
        for (int i = 0; i < ROUNDS; i++)
            matched += filter_match(f, events[(i * 7 >> 2) & 1]);
        double rate = ROUNDS / (cpu_ns() - start) * 1e3;
        best = rate > best ? rate : best;
    }
    printf("%-44s %8.1f M/s  %6.1f ns  (%.0f %% match)\n", what, best, 1e3 / best,
           100.0 * (double)matched / ROUNDS / REPEATS);
    filter_unref(f);
}

static struct filter *all_of_five(void)
{
    struct filter *parts[] = {
        attribute(FILTER_EXACT, "type", "com.example.order.created"),
        attribute(FILTER_PREFIX, "source", "https://shop"),
        attribute(FILTER_SUFFIX, "subject", "/17"),
        attribute(FILTER_EXACT, "region", "eu"),
        attribute(FILTER_EXACT, "datacontenttype", "application/json"),
    };
    struct filter *f;
    struct diag d;
    if (filter_join(FILTER_ALL, parts, 5, &f, &d))
        exit(1);
    for (int i = 0; i < 5; i++)
        filter_unref(parts[i]);
    return f;
}

int main(void)
{
    const struct ce_event *const events[2] = {
        decode("{\"specversion\":\"1.0\",\"id\":\"7f1d4a58\",\"source\":\"https://shop.example.com/orders\","
               "\"type\":\"com.example.order.created\",\"time\":\"2026-11-23T23:25:19Z\",\"subject\":\"orders/17\","
               "\"datacontenttype\":\"application/json\",\"region\":\"eu\",\"hops\":3,\"data\":{}}"),
        decode("{\"specversion\":\"1.0\",\"id\":\"7f1d4a59\",\"source\":\"https://shop.example.com/orders\","
               "\"type\":\"com.example.order.removed\",\"time\":\"2026-11-23T23:25:19Z\",\"subject\":\"orders/18\","
               "\"datacontenttype\":\"application/json\",\"region\":\"us\",\"hops\":9,\"data\":{}}"),
    };
    const struct ce_event *const matching[2] = {events[0], events[0]};
    measure("exact type", attribute(FILTER_EXACT, "type", "com.example.order.created"), events);
    measure("exact extension", attribute(FILTER_EXACT, "region", "eu"), events);
    measure("prefix source", attribute(FILTER_PREFIX, "source", "https://shop."), events);
    measure("all of five", all_of_five(), events);
    measure("all of five, matching", all_of_five(), matching);
    const char *five = "type = 'com.example.order.created' AND source LIKE 'https://shop%' AND subject LIKE '%/17' AND "
                       "region IN ('eu', 'uk') AND hops < 5";
    measure("CESQL, five terms", cesql(five), events);
    measure("CESQL, five terms, matching", cesql(five), matching);
    measure("CESQL, a text made", cesql("UPPER(region) = 'EU'"), events);
    ce_event_unref(events[0]);
    ce_event_unref(events[1]);
    return 0;
}
