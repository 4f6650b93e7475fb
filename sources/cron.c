/* SPDX-License-Identifier: Apache-2.0
 *
 * Cron lines: reading them, and the next time. Pure.
 *
 * The next time is searched in what the clocks show, one span of a zone after the other: within a span the offset is
 * the same, so the first time that the line describes there is a matter of the calendar alone. What lies behind the
 * span's end is searched anew from there, with the next offset.
 */
#include "cron.h"

#include <stdarg.h>
#include <stdio.h>

#define DAY_S 86400
#define SEARCH_YEARS 40 /* the 29th of February may be eight years away, and a zone may skip a time again and again */
#define EVERY_S_MAX (100ull * 366 * DAY_S)
#define UTC_MAX (1ll << 48) /* far beyond any date; no sum of two overflows */

/* ---- one field ---- */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const struct field {
    const char *name, *allowed;
    unsigned min, max;
    const char *const *names; /* the first one stands for min */
} fields[] = {
    {"second", "0 to 59", 0, 59, NULL},
    {"minute", "0 to 59", 0, 59, NULL},
    {"hour", "0 to 23", 0, 23, NULL},
    {"day of the month", "1 to 31", 1, 31, NULL},
    {"month", "1 to 12, or jan to dec", 1, 12, month_names},
    {"day of the week", "0 (sunday) to 6, or sun to sat", 0, 6, weekday_names},
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

/* What is being read: a line, and the word of it that a mistake is about. */
struct reading {
    struct slice line;
    const struct field *field;
    struct diag *d;
};

/* "the hour \"25\": ...", with the column of `at` in the line. */
__attribute__((format(printf, 3, 4))) static enum err wrong(const struct reading *r, struct slice at,
                                                            const char *format, ...)
{
    char why[200];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    diag_set(r->d, ERR_INVALID, "the %s \"%.*s\": %s; allowed are %s, as N, N-M, */STEP, N-M/STEP, and lists of them",
             r->field->name, (int)(at.len < 60 ? at.len : 60), at.ptr, why, r->field->allowed);
    if (r->d) {
        r->d->line = 1;
        r->d->column = (int)(at.ptr - r->line.ptr) + 1;
    }
    return ERR_INVALID;
}

static bool read_number(struct slice s, unsigned *out)
{
    unsigned n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n < 100000 ? n * 10 + (unsigned)(s.ptr[i] - '0') : n;
    }
    *out = n;
    return s.len > 0;
}

static enum err read_value(const struct reading *r, struct slice part, struct slice s, unsigned *out)
{
    const struct field *f = r->field;
    for (unsigned i = 0; f->names && f->names[i]; i++)
        if (slice_eq_nocase(s, slice_str(f->names[i]))) {
            *out = f->min + i;
            return OK;
        }
    if (s.len == 0)
        return wrong(r, part, "a number is missing");
    if (!read_number(s, out))
        return wrong(r, part, "\"%.*s\" is no number%s", (int)(s.len < 20 ? s.len : 20), s.ptr,
                     f->names ? " and no name" : "");
    if (*out < f->min || *out > f->max)
        return wrong(r, part, "%u is not between %u and %u%s", *out, f->min, f->max,
                     f->names == weekday_names && *out == 7 ? " (sunday is 0)" : "");
    return OK;
}

/* "*", "?", "5", "1-5"; *whole: all of the field, by the star. *single: one number, which "/STEP" makes a beginning. */
static enum err read_range(const struct reading *r, struct slice part, struct slice s, unsigned *first, unsigned *last,
                           bool *whole, bool *single)
{
    *first = r->field->min;
    *last = r->field->max;
    *whole = slice_eq_str(s, "*") || slice_eq_str(s, "?");
    *single = false;
    if (*whole)
        return OK;
    struct slice high = s, low = slice_split(&high, '-');
    if (low.len > 0 && (low.ptr[0] == '*' || low.ptr[0] == '?'))
        return wrong(r, part, "\"%c\" is the whole field, and takes nothing beside it but /STEP", low.ptr[0]);
    enum err e = read_value(r, part, low, first);
    *single = high.ptr == NULL;
    if (e == OK && *single)
        *last = *first;
    else if (e == OK)
        e = read_value(r, part, high, last);
    if (e == OK && *first > *last)
        e = wrong(r, part, "%u is behind %u: write what goes over the end as two, as %u-%u,%u-%u", *first, *last,
                  *first, r->field->max, r->field->min, *last);
    return e;
}

/* One part of the list. The star counts only without a step: "*" and "*" with "/1" are every day, every second one is a
 * restriction. */
static enum err read_part(const struct reading *r, struct slice part, uint64_t *bits, bool *any)
{
    struct slice step_text = part, range = slice_split(&step_text, '/');
    unsigned first, last, step = 1;
    bool whole, single;
    enum err e = read_range(r, part, range, &first, &last, &whole, &single);
    if (e != OK)
        return e;
    if (step_text.ptr) {
        if (!read_number(step_text, &step) || step == 0)
            return wrong(r, part, "behind the \"/\" stands a number from 1 on");
        if (single)
            last = r->field->max;
    }
    for (unsigned i = first; i <= last; i += step)
        *bits |= 1ull << i;
    *any = *any || (whole && step == 1);
    return OK;
}

static enum err read_field(const struct reading *r, struct slice text, uint64_t *bits, bool *any)
{
    struct slice rest = text;
    enum err e = OK;
    *bits = 0;
    *any = false;
    while (e == OK && rest.ptr) { /* empty parts are passed over, as robfig/cron does */
        struct slice part = slice_split(&rest, ',');
        if (part.len > 0)
            e = read_part(r, part, bits, any);
    }
    return e == OK && *bits == 0 ? wrong(r, text, "nothing stands between the commas") : e;
}

/* ---- descriptors ---- */

/* A duration as Go writes it: "1h30m", "1.5h", "90s". Whole seconds, one at least. */
static bool read_duration(struct slice s, uint64_t *seconds)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"h", 3600}, {"ms", 1e-3}, {"m", 60}, {"s", 1}, {"us", 1e-6}, {"\xc2\xb5s", 1e-6}, {"ns", 1e-9}};
    double total = 0;
    size_t i = 0;
    while (i < s.len) {
        double n = 0, scale = 1;
        bool point = false;
        size_t digits = 0;
        for (; i < s.len && ((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] == '.' && !point)); i++) {
            if (s.ptr[i] == '.') {
                point = true;
                continue;
            }
            digits++;
            n = n * 10 + (s.ptr[i] - '0');
            scale = point ? scale * 10 : scale;
        }
        struct slice rest = slice_of(s.ptr + i, s.len - i);
        size_t u = 0;
        while (u < sizeof units / sizeof units[0] && !slice_has_prefix(rest, slice_str(units[u].unit)))
            u++;
        if (digits == 0 || digits > 15 || u == sizeof units / sizeof units[0])
            return false;
        total += n / scale * units[u].seconds;
        i += strlen(units[u].unit);
    }
    if (s.len == 0 || total <= 0 || total > (double)EVERY_S_MAX)
        return false;
    *seconds = total < 1 ? 1 : (uint64_t)(total + 1e-9);
    return true;
}

static const struct descriptor {
    const char *word, *fields;
} descriptors[] = {{"@yearly", "0 0 0 1 1 *"}, {"@annually", "0 0 0 1 1 *"}, {"@monthly", "0 0 0 1 * *"},
                   {"@weekly", "0 0 0 * * 0"}, {"@daily", "0 0 0 * * *"},    {"@midnight", "0 0 0 * * *"},
                   {"@hourly", "0 0 * * * *"}};

/* The fields that a descriptor stands for; "@every" is put into *out and has none. */
static enum err read_descriptor(const struct reading *r, struct slice text, struct slice *meaning, struct cron *out)
{
    struct slice duration = text, word = slice_split(&duration, ' ');
    *meaning = SLICE("");
    for (size_t i = 0; i < sizeof descriptors / sizeof descriptors[0]; i++)
        if (slice_eq_str(text, descriptors[i].word))
            *meaning = slice_str(descriptors[i].fields);
    if (meaning->len > 0 || (slice_eq_str(word, "@every") && duration.ptr && read_duration(duration, &out->every_s)))
        return OK;
    diag_set(r->d, ERR_INVALID,
             slice_eq_str(word, "@every")
                 ? "\"%.*s\": behind @every stands a duration up to 100 years, as 90s, 15m or 1h30m"
                 : "\"%.*s\": allowed are @hourly, @daily (or @midnight), @weekly, @monthly, "
                   "@yearly (or @annually), in small letters, and @every DURATION",
             (int)(text.len < 60 ? text.len : 60), text.ptr);
    if (r->d) {
        r->d->line = 1;
        r->d->column = (int)(text.ptr - r->line.ptr) + 1;
    }
    return ERR_INVALID;
}

/* ---- the line ---- */

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && blank(s.ptr[0]))
        s = slice_of(s.ptr + 1, s.len - 1);
    while (s.len > 0 && blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* The next word; empty at the end. */
static struct slice next_word(struct slice *s)
{
    *s = trimmed(*s);
    size_t n = 0;
    while (n < s->len && !blank(s->ptr[n]))
        n++;
    struct slice word = slice_of(s->ptr, n);
    *s = slice_of(s->ptr + n, s->len - n);
    return word;
}

/* What a mistake of the whole line is said of. */
static void begin_of_line(struct diag *d)
{
    if (d)
        d->line = d->column = 1;
}

static enum err wrong_count(const struct reading *r, size_t count)
{
    begin_of_line(r->d);
    return diag_set(r->d, ERR_INVALID,
                    "a cron line has 5 fields (minute, hour, day of the month, month, day of the week) or 6, the "
                    "seconds first; this one has %s",
                    count > FIELD_COUNT ? "more" : (const char *const[]){"none", "1", "2", "3", "4"}[count]);
}

static enum err read_fields(struct reading *r, struct slice text, struct cron *out)
{
    struct slice words[FIELD_COUNT + 1];
    uint64_t *const bits[FIELD_COUNT] = {&out->second, &out->minute, &out->hour, &out->day, &out->month, &out->weekday};
    size_t count = 0;
    enum err e = OK;
    for (struct slice word; (word = next_word(&text)).len > 0 && count <= FIELD_COUNT;)
        words[count++] = word;
    if (count != FIELD_COUNT && count != FIELD_COUNT - 1)
        return wrong_count(r, count);
    out->second = 1;
    for (size_t i = 0, f = FIELD_COUNT - count; i < count && e == OK; i++, f++) {
        bool any;
        r->field = &fields[f];
        e = read_field(r, words[i], bits[f], &any);
        out->any_day = f == 3 ? any : out->any_day;
        out->any_weekday = f == 5 ? any : out->any_weekday;
    }
    return e;
}

/* "TZ=" or "CRON_TZ=" before the fields, taken off. The zone beside the line counts, but not against another one. */
static enum err read_zone(const struct reading *r, struct slice *text, struct slice beside, struct zone **out)
{
    struct slice after = *text, word = next_word(&after), name = word;
    bool own = slice_has_prefix(word, SLICE("TZ=")) || slice_has_prefix(word, SLICE("CRON_TZ="));
    if (!own)
        return zone_load(beside.len > 0 ? beside : SLICE("Local"), out, r->d);
    (void)slice_split(&name, '=');
    *text = trimmed(after);
    enum err e = beside.len > 0 ? diag_set(r->d, ERR_INVALID,
                                           "the line has a time zone of its own, %.*s, and there is one beside it; "
                                           "leave one out",
                                           (int)(word.len < 100 ? word.len : 100), word.ptr)
                                : zone_load(name, out, r->d);
    if (e != OK && r->d) {
        r->d->line = 1;
        r->d->column = (int)(word.ptr - r->line.ptr) + 1;
    }
    return e;
}

/* The day that never comes: the 30th of February, the 31st of months with thirty days. */
static bool comes(const struct cron *c)
{
    static const unsigned char longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!c->any_weekday && !c->any_day)
        return true; /* the weekday alone is enough */
    for (unsigned m = 1; m <= 12; m++)
        for (unsigned d = 1; c->month >> m & 1 && d <= longest[m - 1]; d++)
            if (c->day >> d & 1)
                return true;
    return false;
}

enum err cron_parse(struct slice line, struct slice zone, struct cron *out, struct diag *d)
{
    struct reading r = {.line = line, .d = d};
    struct cron c = {0};
    if (d)
        *d = (struct diag){0};
    if (line.len > CRON_LINE_MAX) {
        begin_of_line(d);
        return diag_set(d, ERR_INVALID, "a cron line has %d bytes at most", CRON_LINE_MAX);
    }
    struct slice text = trimmed(line);
    enum err e = read_zone(&r, &text, zone, &c.zone);
    if (e != OK)
        return e;
    if (text.len > 0 && text.ptr[0] == '@') {
        struct slice meaning;
        e = read_descriptor(&r, text, &meaning, &c);
        text = meaning;
    }
    if (e == OK && c.every_s == 0)
        e = read_fields(&r, text, &c);
    if (e == OK && c.every_s == 0 && !comes(&c)) {
        begin_of_line(d);
        e = diag_set(d, ERR_INVALID,
                     "this never comes: none of the months has such a day; see the fields day of the month and month");
    }
    if (e != OK) {
        zone_free(c.zone);
        return e;
    }
    *out = c;
    return OK;
}

void cron_fini(struct cron *c)
{
    zone_free(c->zone);
    *c = (struct cron){0};
}

/* ---- the next time ---- */

static bool day_matches(const struct cron *c, int64_t days, unsigned day)
{
    bool by_day = c->day >> day & 1, by_weekday = c->weekday >> zone_weekday_of(days) & 1;
    return c->any_day || c->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The first bit from `least` on; 64: none. */
static unsigned first_bit(uint64_t bits, unsigned least)
{
    uint64_t left = least < 64 ? bits >> least << least : 0;
    return left ? (unsigned)__builtin_ctzll(left) : 64;
}

/* The first matching second of a day from `least` on; DAY_S: none. */
static unsigned second_of_day(const struct cron *c, unsigned least)
{
    unsigned h = least / 3600, m = least / 60 % 60, s = least % 60;
    unsigned hour = first_bit(c->hour, h);
    m = hour > h ? 0 : m;
    s = hour > h ? 0 : s;
    for (; hour < 24; hour = first_bit(c->hour, hour + 1), m = s = 0) {
        unsigned minute = first_bit(c->minute, m);
        s = minute > m ? 0 : s;
        for (; minute < 60; minute = first_bit(c->minute, minute + 1), s = 0) {
            unsigned second = first_bit(c->second, s);
            if (second < 60)
                return hour * 3600 + minute * 60 + second;
        }
    }
    return DAY_S;
}

/* The first time from `shown` on that the line describes, by the calendar alone. CRON_NEVER: none before `end`. */
static int64_t next_shown(const struct cron *c, int64_t shown, int64_t end)
{
    int64_t days = shown / DAY_S - (shown % DAY_S < 0);
    unsigned least = (unsigned)(shown - days * DAY_S);
    for (; days * DAY_S < end; least = 0) {
        struct zone_date date = zone_date_of(days);
        if (!(c->month >> date.month & 1)) {
            days += zone_month_length(date.year, date.month) - date.day + 1;
            continue;
        }
        unsigned found = day_matches(c, days, date.day) ? second_of_day(c, least) : DAY_S;
        if (found < DAY_S)
            return days * DAY_S + found;
        days++;
    }
    return CRON_NEVER;
}

int64_t cron_next(const struct cron *c, int64_t after)
{
    if (after > UTC_MAX || after < -UTC_MAX)
        return CRON_NEVER;
    if (c->every_s > 0)
        return after + (int64_t)c->every_s;
    int64_t end = after + SEARCH_YEARS * 366ll * DAY_S, utc = after + 1;
    while (utc < end) {
        struct zone_span span = zone_at(c->zone, utc);
        int64_t until = span.until < end ? span.until : end;
        int64_t shown = next_shown(c, utc + span.offset, until + span.offset);
        if (shown != CRON_NEVER && shown - span.offset < until)
            return shown - span.offset;
        utc = until;
    }
    return CRON_NEVER;
}

uint64_t cron_count(const struct cron *c, int64_t after, int64_t until, uint64_t most)
{
    uint64_t count = 0;
    if (c->every_s > 0) {
        count = until > after ? (uint64_t)(until - after) / c->every_s : 0;
        return count < most ? count : most;
    }
    while (count < most && (after = cron_next(c, after)) <= until)
        count++;
    return count;
}
