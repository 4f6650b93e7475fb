/* SPDX-License-Identifier: Apache-2.0
 *
 * Cron lines against a model that walks: every minute (or second) of a while, the C library's clock of the zone, and
 * the line's fields as plain tables. Then what a line may say, and what each mistake is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "../../sources/cron.h"
#include "prng.h"
#include "text.h"

#define SEED 20261130
#define DAY 86400ll

static int64_t at(const char *rfc3339)
{
    int64_t ns;
    assert_int_equal(rfc3339_parse(slice_str(rfc3339), &ns), OK);
    return ns / 1000000000;
}

static struct cron parsed(const char *line, const char *zone)
{
    struct cron c;
    struct diag d = {0};
    if (cron_parse(slice_str(line), slice_str(zone), &c, &d) != OK)
        fail_msg("%s: %s", line, d.text);
    return c;
}

/* ---- the model ---- */

/* The library's clock of a zone; "UTC" before and after. */
static void clock_of(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

struct line {
    char text[400];
    bool has[6][61]; /* second, minute, hour, day, month, weekday */
    bool star[6];
    struct cron cron;
    int64_t expected; /* what cron_next says next */
};

static bool comes_due(const struct line *l, const struct tm *tm)
{
    bool day = l->has[3][tm->tm_mday], weekday = l->has[5][tm->tm_wday];
    if (!l->has[0][tm->tm_sec] || !l->has[1][tm->tm_min] || !l->has[2][tm->tm_hour] || !l->has[4][tm->tm_mon + 1])
        return false;
    if (l->star[3] || l->star[5])
        return day && weekday;
    return day || weekday;
}

static const struct {
    unsigned min, max;
} bounds[6] = {{0, 59}, {0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}};

static unsigned between(struct prng *p, unsigned min, unsigned max)
{
    return min + (unsigned)prng_below(p, max - min + 1);
}

/* Appends one part of a field, and marks what it means. */
static void random_part(struct prng *p, struct line *l, unsigned f, char *text)
{
    unsigned min = bounds[f].min, max = bounds[f].max, a = between(p, min, max), b = between(p, a, max);
    unsigned step = between(p, 1, 6);
    static const char *const months[] = {"",    "jan", "Feb", "MAR", "apr", "may", "jun",
                                         "jul", "aug", "sep", "oct", "nov", "dec"};
    switch (prng_below(p, 6)) {
    case 0:
        sprintf(text, "%u/%u", a, step);
        b = max;
        break;
    case 1:
        sprintf(text, "*/%u", step);
        a = min;
        b = max;
        l->star[f] = l->star[f] || step == 1;
        break;
    case 2:
        sprintf(text, "%u-%u", a, b);
        step = 1;
        break;
    case 3:
        sprintf(text, "%u-%u/%u", a, b, step);
        break;
    default:
        if (f == 4)
            strcpy(text, months[a]);
        else
            sprintf(text, "%u", a);
        b = a;
        step = 1;
    }
    for (unsigned i = a; i <= b; i += step)
        l->has[f][i] = true;
}

static void random_field(struct prng *p, struct line *l, unsigned f, bool star)
{
    char part[40];
    if (star) {
        strcat(l->text, prng_below(p, 2) ? "*" : "?");
        for (unsigned i = bounds[f].min; i <= bounds[f].max; i++)
            l->has[f][i] = true;
        l->star[f] = true;
        return;
    }
    for (unsigned n = between(p, 1, 3); n > 0; n--) {
        random_part(p, l, f, part);
        strcat(l->text, part);
        if (n > 1)
            strcat(l->text, ",");
    }
}

/* One that comes somewhere: else cron_parse refuses it, and another is made. */
static void random_line(struct prng *p, struct line *l, const char *zone, bool seconds)
{
    enum err e;
    do {
        memset(l, 0, sizeof *l);
        l->has[0][0] = true;
        if (seconds) {
            l->has[0][0] = false;
            random_field(p, l, 0, prng_below(p, 4) == 0);
            strcat(l->text, " ");
        }
        for (unsigned f = 1; f < 6; f++) {
            random_field(p, l, f, prng_below(p, f < 3 ? 4 : 2) == 0);
            strcat(l->text, f < 5 ? " " : "");
        }
        e = cron_parse(slice_str(l->text), slice_str(zone), &l->cron, NULL);
        assert_true(e == OK || e == ERR_INVALID);
    } while (e != OK);
}

static void walk(struct line *lines, size_t count, const char *zone, int64_t from, int64_t until, int64_t step)
{
    clock_of(zone);
    for (size_t i = 0; i < count; i++)
        lines[i].expected = cron_next(&lines[i].cron, from - 1);
    for (time_t t = from; t < until; t += step) {
        struct tm tm;
        localtime_r(&t, &tm);
        for (size_t i = 0; i < count; i++) {
            struct line *l = &lines[i];
            bool due = comes_due(l, &tm);
            if (due != (l->expected == t))
                fail_msg("%s in %s: at %lld the model says %d, cron_next says %lld", l->text, zone, (long long)t, due,
                         (long long)l->expected);
            if (due)
                l->expected = cron_next(&l->cron, t);
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(lines[i].expected >= until);
        cron_fini(&lines[i].cron);
    }
    clock_of("UTC");
}

/* Whole hours, halves and quarters, changes at midnight, of half an hour, of a whole day, before the year's end,
 * negative ones, and zones without any. */
static const char *const zones[] = {"America/New_York", "Europe/Berlin",     "Australia/Lord_Howe", "America/Sao_Paulo",
                                    "Europe/Dublin",    "Africa/Casablanca", "Asia/Kolkata",        "America/Havana",
                                    "Pacific/Apia",     "Asia/Kathmandu",    "Antarctica/Troll",    "Asia/Tehran",
                                    "Africa/Cairo",     "America/St_Johns",  "Pacific/Chatham",     "UTC",
                                    "America/Nuuk",     "Asia/Gaza",         "Pacific/Kiritimati",  "America/Santiago"};
#define ZONE_COUNT (sizeof zones / sizeof zones[0])
#define LINES 6

static void test_years_of_minutes(void **state)
{
    (void)state;
    struct prng p;
    struct line lines[LINES];
    prng_seed(&p, SEED);
    for (unsigned round = 0; round < ZONE_COUNT; round++) {
        const char *zone = zones[round % ZONE_COUNT];
        int64_t from = at("1975-01-01T00:00:00Z") + (int64_t)prng_below(&p, 100 * 365) * DAY;
        for (size_t i = 0; i < LINES; i++)
            random_line(&p, &lines[i], zone, false);
        walk(lines, LINES, zone, from, from + 370 * DAY, 60);
    }
}

/* Around each change of a year, second by second. */
static void test_seconds_around_changes(void **state)
{
    (void)state;
    struct prng p;
    struct line lines[LINES];
    prng_seed(&p, SEED + 1);
    for (unsigned round = 0; round < ZONE_COUNT; round++) {
        struct zone *z;
        assert_int_equal(zone_load(slice_str(zones[round]), &z, NULL), OK);
        int64_t t = at("2018-01-01T00:00:00Z") + (int64_t)prng_below(&p, 40 * 365) * DAY;
        struct zone_span span = zone_at(z, t);
        int64_t change = span.until == INT64_MAX ? t : span.until;
        zone_free(z);
        for (size_t i = 0; i < LINES; i++)
            random_line(&p, &lines[i], zones[round], true);
        walk(lines, LINES, zones[round], change - 7300, change + 7300, 1);
    }
}

/* The spans are those of the C library, of all of the past and far into the future. */
static void test_spans(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, SEED + 2);
    for (size_t i = 0; i < ZONE_COUNT; i++) {
        struct zone *z;
        assert_int_equal(zone_load(slice_str(zones[i]), &z, NULL), OK);
        clock_of(zones[i]);
        for (int n = 0; n < 4000; n++) {
            time_t t = at("1901-01-01T00:00:00Z") + (int64_t)prng_below(&p, 400 * 366 * (uint64_t)DAY);
            struct zone_span span = zone_at(z, t);
            const time_t edges[] = {t, span.from, span.until - 1};
            for (int e = 0; e < 3; e++) {
                struct tm tm;
                if (edges[e] == INT64_MIN || edges[e] == INT64_MAX - 1)
                    continue;
                localtime_r(&edges[e], &tm);
                if (tm.tm_gmtoff != span.offset)
                    fail_msg("%s at %lld: %ld, not %d", zones[i], (long long)edges[e], tm.tm_gmtoff, span.offset);
            }
        }
        zone_free(z);
        clock_of("UTC");
    }
}

static void test_calendar(void **state)
{
    (void)state;
    int64_t year = -401;
    unsigned month = 1, day = 1;
    for (int64_t days = zone_days_of(-401, 1, 1); days < 400000; days++) {
        struct zone_date date = zone_date_of(days);
        assert_true(date.year == year && date.month == month && date.day == day);
        assert_true(zone_days_of(year, month, day) == days);
        assert_int_equal(zone_weekday_of(days + 1), (zone_weekday_of(days) + 1) % 7);
        if (++day > zone_month_length(year, month)) {
            day = 1;
            year += month == 12;
            month = month % 12 + 1;
        }
    }
    assert_int_equal(zone_weekday_of(zone_days_of(2026, 11, 30)), 1);
    assert_int_equal(zone_days_of(1970, 1, 1), 0);
}

/* ---- one by one ---- */

static void test_next(void **state)
{
    (void)state;
    static const struct {
        const char *line, *zone, *after, *next;
    } cases[] = {
        {"* * * * *", "UTC", "2026-11-30T10:00:00Z", "2026-11-30T10:01:00Z"},
        {"*/15 * * * *", "UTC", "2026-11-30T10:59:59Z", "2026-11-30T11:00:00Z"},
        {"*/2 * * * * *", "UTC", "2026-11-30T10:00:00Z", "2026-11-30T10:00:02Z"},
        {"0 9 * * mon-fri", "UTC", "2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"},
        {"0 0 29 2 ?", "UTC", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
        {"0 0 13 * fri", "UTC", "2026-11-30T00:00:00Z", "2026-12-04T00:00:00Z"}, /* one of both is enough */
        {"0 0 */2 * fri", "UTC", "2026-12-04T00:00:00Z", "2026-12-05T00:00:00Z"},
        {"0 0 * * Fri/1", "UTC", "2026-12-04T00:00:00Z", "2026-12-05T00:00:00Z"},
        {"@hourly", "UTC", "2026-11-30T10:00:00Z", "2026-11-30T11:00:00Z"},
        {"@midnight", "Europe/Berlin", "2026-11-30T10:00:00Z", "2026-11-30T23:00:00Z"},
        {"@weekly", "UTC", "2026-11-30T10:00:00Z", "2026-12-06T00:00:00Z"},
        {"@monthly", "UTC", "2026-11-30T10:00:00Z", "2026-12-01T00:00:00Z"},
        {"@annually", "UTC", "2026-11-30T10:00:00Z", "2027-01-01T00:00:00Z"},
        {"@every 1h30m", "", "2026-11-30T10:00:00Z", "2026-11-30T11:30:00Z"},
        {"@every 1.5s", "", "2026-11-30T10:00:00Z", "2026-11-30T10:00:01Z"},
        {"@every 200ms", "", "2026-11-30T10:00:00Z", "2026-11-30T10:00:01Z"},
        {"  CRON_TZ=Asia/Tokyo \t 30 4 * * *  ", "", "2026-11-30T00:00:00Z", "2026-11-30T19:30:00Z"},
        {"TZ=Asia/Tokyo @daily", "", "2026-11-30T00:00:00Z", "2026-11-30T15:00:00Z"},
        {"1,,2, * * * *", "UTC", "2026-11-30T10:01:00Z", "2026-11-30T10:02:00Z"},
        /* New York: 2:00 to 3:00 is skipped on 8 March 2026, 1:00 to 2:00 comes twice on 1 November. */
        {"30 2 * * *", "America/New_York", "2026-03-07T07:30:00Z", "2026-03-09T06:30:00Z"},
        {"0 * * * *", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"},
        {"30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"},
        {"30 1 * * *", "America/New_York", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"},
        /* Lord Howe moves by half an hour, at 2:00 on 4 October 2026; what is not skipped comes. */
        {"0 3 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-03T16:00:00Z"},
        /* Santiago has no midnight on 6 September 2026. */
        {"0 0 * * *", "America/Santiago", "2026-09-05T04:00:00Z", "2026-09-07T03:00:00Z"},
        {"0 1 5 9 *", "America/Santiago", "2026-09-05T06:00:00Z", "2027-09-05T04:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cron c = parsed(cases[i].line, cases[i].zone);
        int64_t next = cron_next(&c, at(cases[i].after));
        if (next != at(cases[i].next))
            fail_msg("%s after %s: %lld, not %s", cases[i].line, cases[i].after, (long long)next, cases[i].next);
        cron_fini(&c);
    }
}

static void test_count(void **state)
{
    (void)state;
    struct cron c = parsed("* * * * *", "UTC");
    int64_t t = at("2026-11-30T10:00:00Z");
    assert_int_equal(cron_count(&c, t, t, 100), 0);
    assert_int_equal(cron_count(&c, t, t + 59, 100), 0);
    assert_int_equal(cron_count(&c, t, t + 60, 100), 1);
    assert_int_equal(cron_count(&c, t, t + 3600, 100), 60);
    assert_int_equal(cron_count(&c, t, t + DAY, 100), 100);
    assert_int_equal(cron_next(&c, INT64_MAX), CRON_NEVER);
    assert_int_equal(cron_next(&c, INT64_MIN), CRON_NEVER);
    cron_fini(&c);
    c = parsed("@every 90s", "");
    assert_int_equal(cron_count(&c, t, t + 900, 100), 10);
    assert_int_equal(cron_count(&c, t, t - 900, 100), 0);
    cron_fini(&c);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *line, *zone;
        int column;
        const char *says;
    } cases[] = {
        {"", "", 1, "this one has none"},
        {"* * * *", "", 1, "5 fields (minute, hour, day of the month, month, day of the week) or 6"},
        {"* * * * * * *", "", 1, "this one has more"},
        {"60 * * * *", "", 1, "the minute \"60\": 60 is not between 0 and 59; allowed are 0 to 59"},
        {"0  24 * * *", "", 4, "the hour \"24\""},
        {"61 0 0 * * *", "", 1, "the second \"61\""},
        {"0 0 0 * *", "", 5, "the day of the month \"0\": 0 is not between 1 and 31"},
        {"0 0 1 13 *", "", 7, "the month \"13\""},
        {"0 0 * * 7", "", 9, "7 is not between 0 and 6 (sunday is 0)"},
        {"0 0 * foo *", "", 7, "\"foo\" is no number and no name; allowed are 1 to 12, or jan to dec"},
        {"0 0 * * sunday", "", 9, "\"sunday\" is no number and no name"},
        {"x * * * *", "", 1, "\"x\" is no number; allowed"},
        {"1,2,70 * * * *", "", 5, "the minute \"70\""},
        {"5-1 * * * *", "", 1, "5 is behind 1: write what goes over the end as two, as 5-59,0-1"},
        {"0 0 * * fri-mon", "", 9, "as 5-6,0-1"},
        {"1-2-3 * * * *", "", 1, "\"2-3\" is no number"},
        {"1- * * * *", "", 1, "a number is missing"},
        {"-1 * * * *", "", 1, "a number is missing"},
        {"*/0 * * * *", "", 1, "behind the \"/\" stands a number from 1 on"},
        {"*/ * * * *", "", 1, "behind the \"/\""},
        {"*/2/3 * * * *", "", 1, "behind the \"/\""},
        {"*-5 * * * *", "", 1, "\"*\" is the whole field"},
        {", * * * *", "", 1, "nothing stands between the commas"},
        {"0 0 31 2,4,6,9,11 *", "", 1, "this never comes"},
        {"@Daily", "", 1, "allowed are @hourly, @daily"},
        {"@every", "", 1, "behind @every stands a duration"},
        {"@every soon", "", 1, "behind @every stands a duration"},
        {"@every -5m", "", 1, "behind @every stands a duration"},
        {"@every 0s", "", 1, "behind @every stands a duration"},
        {"@every 5", "", 1, "behind @every stands a duration"},
        {"TZ=Mars/Base * * * * *", "", 1, "knows no time zone \"Mars/Base\""},
        {"TZ=../../etc/passwd * * * * *", "", 1, "is no time zone"},
        {"* * * * *", "/etc/localtime", 0, "is no time zone"},
        {"* * * * *", "Europe", 0, "knows no time zone"},
        {"* * * * *", "zone.tab", 0, "is no time zone"},
        {"TZ=UTC * * * * *", "UTC", 1, "leave one out"},
        {"TZ=UTC", "", 1, "this one has none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cron c;
        struct diag d = {0};
        enum err e = cron_parse(slice_str(cases[i].line), slice_str(cases[i].zone), &c, &d);
        if (e != ERR_INVALID || !strstr(d.text, cases[i].says) || d.column != cases[i].column)
            fail_msg("%s: %s, column %d: %s", cases[i].line, err_name(e), d.column, d.text);
        assert_int_equal(cron_parse(slice_str(cases[i].line), slice_str(cases[i].zone), &c, NULL), ERR_INVALID);
    }
    char longest[CRON_LINE_MAX + 2];
    memset(longest, ' ', sizeof longest);
    struct cron c;
    assert_int_equal(cron_parse(slice_of(longest, sizeof longest), SLICE(""), &c, NULL), ERR_INVALID);
}

/* The system's zone: what TZ says, as a name or a path; UTC when it is empty. */
static void test_local(void **state)
{
    (void)state;
    static const struct {
        const char *tz;
        int32_t offset;
    } cases[] = {{"Asia/Kolkata", 19800},
                 {":Asia/Kolkata", 19800},
                 {"/usr/share/zoneinfo/Asia/Kolkata", 19800},
                 {"", 0},
                 {"UTC", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct zone *z;
        setenv("TZ", cases[i].tz, 1);
        assert_int_equal(zone_load(SLICE("Local"), &z, NULL), OK);
        assert_int_equal(zone_at(z, 0).offset, cases[i].offset);
        zone_free(z);
    }
    struct zone *z;
    struct diag d = {0};
    setenv("TZ", "/nowhere", 1);
    assert_int_equal(zone_load(SLICE("Local"), &z, &d), ERR_INVALID);
    setenv("TZ", "EST5EDT,M3.2.0,M11.1.0", 1);
    assert_int_equal(zone_load(SLICE("Local"), &z, &d), ERR_INVALID);
    unsetenv("TZ");
    assert_int_equal(zone_load(SLICE("Local"), &z, &d), OK);
    zone_free(z);
    clock_of("UTC");
}

/* Cut anywhere, or with any byte changed, a zone's file is refused or is a zone: never a fault. */
static void test_damage(void **state)
{
    (void)state;
    unsigned char bytes[8192], copy[sizeof bytes];
    FILE *f = fopen("/usr/share/zoneinfo/Europe/Dublin", "re");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t i = 0; i < n; i++) {
        struct zone *z;
        memcpy(copy, bytes, n);
        copy[i] ^= 0x55;
        if (zone_parse(slice_of((char *)copy, n), &z, NULL) == OK) {
            for (int64_t t = -3000000000; t < 6000000000; t += 100000000) {
                struct zone_span span = zone_at(z, t);
                assert_true(span.from <= t && t < span.until);
            }
            zone_free(z);
        }
        memcpy(copy, bytes, n);
        assert_int_equal(zone_parse(slice_of((char *)copy, i), &z, NULL), ERR_CORRUPT);
    }
}

int main(void)
{
    clock_of("UTC");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calendar),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_years_of_minutes),
        cmocka_unit_test(test_seconds_around_changes),
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
