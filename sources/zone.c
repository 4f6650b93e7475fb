/* SPDX-License-Identifier: Apache-2.0
 *
 * A zone out of its TZif file (RFC 8536):
 *
 *     header, block of version 1          skipped where there is a second block, which has all of it
 *     header, block with 64-bit times     instants at which the offset changes, and the offsets
 *     "\n" RULE "\n"                      what holds after the last of them, for ever: "EST5EDT,M3.2.0,M11.1.0"
 *
 * Everything is checked against the file's length when it is read; a zone that was made is right.
 */
#include "zone.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256u << 10) /* the largest of tzdata has 4 KiB */
#define HEADER_BYTES 44
#define OFFSET_MAX (26 * 3600) /* RFC 8536: less than 26 hours east, and than 25 west */
#define DAY_S 86400
/* Rules count from about here on; beyond, the calendar is not asked, so that no sum overflows. */
#define YEAR_MAX 100000
#define UTC_MAX (YEAR_MAX * 365ll * DAY_S)

/* When within a year a rule's change is. */
struct rule_day {
    enum { RULE_JULIAN, RULE_ZERO, RULE_WEEKDAY } form; /* Jn: 1 to 365, never the 29th of February; n: 0 to 365 */
    unsigned month, week, day;
    int32_t time; /* seconds after midnight of the local time before the change; may be negative */
};

struct zone {
    size_t count;
    int64_t *at;     /* ascending */
    int32_t *offset; /* count + 1: before the first, then from each on */
    bool ruled;      /* after the last of them: standard and daylight saving by rule; else the last offset */
    int32_t standard, saving;
    struct rule_day begin, end;
};

/* ---- the calendar ---- */

/* Years are counted from March here, so that the leap day is the last of one; eras have 400 years. */
int64_t zone_days_of(int64_t year, unsigned month, unsigned day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t in_era = y - era * 400;
    int64_t in_year = (153 * (int64_t)((month + 9) % 12) + 2) / 5 + (int64_t)day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

struct zone_date zone_date_of(int64_t days)
{
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t in_era = shifted - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t march = (5 * in_year + 2) / 153;
    unsigned month = (unsigned)(march < 10 ? march + 3 : march - 9);
    return (struct zone_date){year + era * 400 + (month <= 2), month, (unsigned)(in_year - (153 * march + 2) / 5 + 1)};
}

unsigned zone_weekday_of(int64_t days)
{
    int64_t w = (days + 4) % 7; /* 1970 began on a Thursday */
    return (unsigned)(w < 0 ? w + 7 : w);
}

static bool leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

unsigned zone_month_length(int64_t year, unsigned month)
{
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    assert(month >= 1 && month <= 12);
    return month == 2 && leap(year) ? 29 : lengths[month - 1];
}

/* ---- the rule behind the table ---- */

static bool take(struct slice *s, char c)
{
    if (s->len == 0 || s->ptr[0] != c)
        return false;
    *s = slice_of(s->ptr + 1, s->len - 1);
    return true;
}

static bool take_number(struct slice *s, unsigned max, unsigned *out)
{
    unsigned n = 0;
    size_t i = 0;
    for (; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9' && n <= max; i++)
        n = n * 10 + (unsigned)(s->ptr[i] - '0');
    *out = n;
    *s = slice_of(s->ptr + i, s->len - i);
    return i > 0 && n <= max;
}

/* "[+-]hh[:mm[:ss]]" */
static bool take_time(struct slice *s, unsigned hours_max, int32_t *out)
{
    unsigned h, m = 0, sec = 0;
    bool minus = take(s, '-');
    if (!minus)
        (void)take(s, '+');
    if (!take_number(s, hours_max, &h) || (take(s, ':') && !take_number(s, 59, &m)) ||
        (take(s, ':') && !take_number(s, 59, &sec)))
        return false;
    int32_t total = (int32_t)(h * 3600 + m * 60 + sec);
    *out = minus ? -total : total;
    return true;
}

/* "EST" or "<+1030>": what the offset is called, which nobody here asks. */
static bool take_name(struct slice *s)
{
    bool quoted = take(s, '<');
    size_t n = 0;
    for (; n < s->len; n++) {
        char c = s->ptr[n];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool other = quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-');
        if (!letter && !other)
            break;
    }
    *s = slice_of(s->ptr + n, s->len - n);
    return n >= 3 && (!quoted || take(s, '>'));
}

/* ",M3.2.0/2" */
static bool take_day(struct slice *s, struct rule_day *r)
{
    *r = (struct rule_day){.time = 2 * 3600};
    bool good;
    if (!take(s, ','))
        return false;
    if (take(s, 'M')) {
        r->form = RULE_WEEKDAY;
        good = take_number(s, 12, &r->month) && r->month > 0 && take(s, '.') && take_number(s, 5, &r->week) &&
               r->week > 0 && take(s, '.') && take_number(s, 6, &r->day);
    } else if (take(s, 'J')) {
        r->form = RULE_JULIAN;
        good = take_number(s, 365, &r->day) && r->day > 0;
    } else {
        r->form = RULE_ZERO;
        good = take_number(s, 365, &r->day);
    }
    return good && (!take(s, '/') || take_time(s, 167, &r->time));
}

/* Empty: the last offset of the table stays. The signs of POSIX are those of the west. */
static bool read_rule(struct zone *z, struct slice s)
{
    if (s.len == 0)
        return true;
    int32_t west;
    if (!take_name(&s) || !take_time(&s, 24, &west))
        return false;
    z->standard = -west;
    if (s.len == 0) {
        z->offset[z->count] = z->standard;
        return true;
    }
    z->saving = z->standard + 3600;
    if (!take_name(&s))
        return false;
    if (s.len > 0 && s.ptr[0] != ',') {
        if (!take_time(&s, 24, &west))
            return false;
        z->saving = -west;
    }
    z->ruled = true;
    return take_day(&s, &z->begin) && take_day(&s, &z->end) && s.len == 0;
}

/* The instant of a change, where the clocks showed `offset` until then. */
static int64_t rule_instant(const struct rule_day *r, int64_t year, int32_t offset)
{
    int64_t days;
    if (r->form == RULE_WEEKDAY) {
        int64_t first = zone_days_of(year, r->month, 1);
        unsigned length = zone_month_length(year, r->month);
        unsigned day = (r->day + 7 - zone_weekday_of(first)) % 7 + 7 * (r->week - 1);
        while (day >= length) /* the fifth stands for the last */
            day -= 7;
        days = first + day;
    } else {
        days = zone_days_of(year, 1, 1) + r->day;
        if (r->form == RULE_JULIAN && (r->day < 60 || !leap(year)))
            days--;
    }
    return days * DAY_S + r->time - offset;
}

#define RULE_YEARS 5 /* changes stray a week from their year, so these two before and after are enough */

struct change {
    int64_t at;
    int32_t offset;
    bool begins;
};

/* Where daylight saving ends and begins in one instant, it goes on. */
static int earlier(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->begins - y->begins;
}

/* `least`: from when on the rule holds; what was before is the table's. */
static struct zone_span by_rule(const struct zone *z, int64_t utc, int64_t least)
{
    struct change changes[2 * RULE_YEARS];
    size_t count = 0, i = 0;
    int64_t year = zone_date_of(utc / DAY_S).year - RULE_YEARS / 2;
    for (; count < 2 * RULE_YEARS; year++) {
        changes[count++] = (struct change){rule_instant(&z->begin, year, z->standard), z->saving, true};
        changes[count++] = (struct change){rule_instant(&z->end, year, z->saving), z->standard, false};
    }
    qsort(changes, count, sizeof changes[0], earlier);
    while (i + 1 < count && changes[i + 1].at <= utc)
        i++;
    assert(changes[i].at <= utc && i + 1 < count);
    int64_t from = changes[i].at > least ? changes[i].at : least;
    return (struct zone_span){from, changes[i + 1].at, changes[i].offset};
}

struct zone_span zone_at(const struct zone *z, int64_t utc)
{
    size_t low = 0, high = z->count; /* how many changes are not after utc */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (z->at[middle] <= utc)
            low = middle + 1;
        else
            high = middle;
    }
    int64_t from = low > 0 ? z->at[low - 1] : INT64_MIN;
    if (low < z->count)
        return (struct zone_span){from, z->at[low], z->offset[low]};
    if (z->ruled && utc < UTC_MAX && utc > -UTC_MAX)
        return by_rule(z, utc, from);
    return (struct zone_span){from, INT64_MAX, z->offset[low]};
}

/* ---- the file ---- */

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static int64_t be64(const char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct header {
    char version;
    uint32_t utc_marks, standard_marks, leaps, times, types, letters;
    size_t block; /* bytes that follow, with times of `width` bytes */
};

static bool read_header(struct slice s, size_t width, struct header *h)
{
    if (s.len < HEADER_BYTES || memcmp(s.ptr, "TZif", 4) != 0)
        return false;
    *h = (struct header){.version = s.ptr[4],
                         .utc_marks = be32(s.ptr + 20),
                         .standard_marks = be32(s.ptr + 24),
                         .leaps = be32(s.ptr + 28),
                         .times = be32(s.ptr + 32),
                         .types = be32(s.ptr + 36),
                         .letters = be32(s.ptr + 40)};
    if (h->utc_marks > 256 || h->standard_marks > 256 || h->leaps > FILE_MAX || h->times > FILE_MAX || h->types > 256 ||
        h->types == 0 || h->letters > FILE_MAX)
        return false;
    h->block =
        h->times * (width + 1) + h->types * 6 + h->letters + h->leaps * (width + 4) + h->standard_marks + h->utc_marks;
    return s.len - HEADER_BYTES >= h->block;
}

/* One offset out of the table of types. */
static bool type_offset(const struct header *h, const char *types, unsigned char i, int32_t *out)
{
    if (i >= h->types)
        return false;
    int32_t offset = (int32_t)be32(types + 6 * (size_t)i);
    *out = offset;
    return offset < OFFSET_MAX && offset > -OFFSET_MAX;
}

static bool read_block(struct zone *z, const struct header *h, const char *p, size_t width)
{
    const char *indices = p + h->times * width, *types = indices + h->times;
    if (h->leaps > 0 || !type_offset(h, types, 0, &z->offset[0]))
        return false;
    for (size_t i = 0; i < h->times; i++) {
        z->at[i] = width == 8 ? be64(p + 8 * i) : (int32_t)be32(p + 4 * i);
        if ((i > 0 && z->at[i] <= z->at[i - 1]) || !type_offset(h, types, (unsigned char)indices[i], &z->offset[i + 1]))
            return false;
    }
    return true;
}

/* The line behind the second block. */
static bool read_footer(struct zone *z, struct slice s)
{
    if (!take(&s, '\n'))
        return false;
    const char *end = memchr(s.ptr, '\n', s.len);
    return end && read_rule(z, slice_of(s.ptr, (size_t)(end - s.ptr)));
}

enum err zone_parse(struct slice s, struct zone **out, struct diag *d)
{
    struct header h;
    size_t width = 4;
    bool good = read_header(s, width, &h);
    if (good && h.version >= '2') {
        s = slice_of(s.ptr + HEADER_BYTES + h.block, s.len - HEADER_BYTES - h.block);
        width = 8;
        good = read_header(s, width, &h);
    }
    if (!good)
        return diag_set(d, ERR_CORRUPT, "this is no time zone: its file is not as RFC 8536 has it");
    struct zone *z = calloc(1, sizeof *z);
    int64_t *at = calloc(h.times + 1, sizeof *at);
    int32_t *offset = calloc(h.times + 1, sizeof *offset);
    if (!z || !at || !offset) {
        free(z);
        free(at);
        free(offset);
        return ERR_NOMEM;
    }
    *z = (struct zone){.count = h.times, .at = at, .offset = offset};
    const char *block = s.ptr + HEADER_BYTES;
    good = read_block(z, &h, block, width) &&
           (width == 4 || read_footer(z, slice_of(block + h.block, s.len - HEADER_BYTES - h.block)));
    if (!good) {
        zone_free(z);
        return diag_set(d, ERR_CORRUPT, "this time zone's file is damaged, or counts leap seconds");
    }
    *out = z;
    return OK;
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    free(z->at);
    free(z->offset);
    free(z);
}

static enum err utc_zone(struct zone **out)
{
    struct zone *z = calloc(1, sizeof *z);
    int32_t *offset = calloc(1, sizeof *offset);
    if (!z || !offset) {
        free(z);
        free(offset);
        return ERR_NOMEM;
    }
    z->offset = offset;
    *out = z;
    return OK;
}

static enum err load_file(const char *path, struct zone **out, struct diag *d)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOMEM ? ERR_NOMEM : ERR_NOTFOUND;
    char *bytes = malloc(FILE_MAX);
    size_t n = bytes ? fread(bytes, 1, FILE_MAX, f) : 0;
    bool failed = ferror(f) != 0; /* a directory, for one */
    fclose(f);
    enum err e = !bytes ? ERR_NOMEM : failed || n == 0 ? ERR_NOTFOUND : zone_parse(slice_of(bytes, n), out, d);
    free(bytes);
    return e;
}

/* Letters, digits and "_+-" with single slashes between; so no name leads out of tzdata. */
static bool name_good(struct slice name)
{
    bool begin = true;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (begin && !letter)
            return false;
        if (!letter && c != '+' && c != '-' && c != '/')
            return false;
        begin = c == '/';
    }
    return name.len > 0 && name.len <= ZONE_NAME_MAX && !begin;
}

static enum err load_named(struct slice name, struct zone **out, struct diag *d)
{
    static const char *const places[] = {"/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo"};
    const char *own = getenv("TZDIR");
    char path[512];
    enum err e = ERR_NOTFOUND;
    if (!name_good(name))
        return diag_set(d, ERR_INVALID, "\"%.*s\" is no time zone; write one as Europe/Berlin or UTC",
                        (int)(name.len < ZONE_NAME_MAX ? name.len : ZONE_NAME_MAX), name.ptr);
    if (own && snprintf(path, sizeof path, "%s/%.*s", own, SLICE_ARG(name)) < (int)sizeof path)
        e = load_file(path, out, d);
    for (size_t i = 0; i < sizeof places / sizeof places[0] && e == ERR_NOTFOUND; i++) {
        snprintf(path, sizeof path, "%s/%.*s", places[i], SLICE_ARG(name));
        e = load_file(path, out, d);
    }
    if (e == ERR_NOTFOUND)
        return diag_set(d, ERR_INVALID,
                        "this system knows no time zone \"%.*s\"; write one as Europe/Berlin or UTC (they come with "
                        "the package tzdata)",
                        SLICE_ARG(name));
    return e;
}

static enum err load_local(struct zone **out, struct diag *d)
{
    const char *name = getenv("TZ");
    if (!name) {
        enum err e = load_file("/etc/localtime", out, d);
        return e == ERR_NOTFOUND ? utc_zone(out) : e;
    }
    if (*name == ':')
        name++;
    if (*name == '/') {
        enum err e = load_file(name, out, d);
        return e == ERR_NOTFOUND ? diag_set(d, ERR_INVALID, "TZ names %.200s, which cannot be read", name) : e;
    }
    return *name && strcmp(name, "UTC") != 0 ? load_named(slice_str(name), out, d) : utc_zone(out);
}

enum err zone_load(struct slice name, struct zone **out, struct diag *d)
{
    if (name.len == 0 || slice_eq_str(name, "UTC"))
        return utc_zone(out);
    if (slice_eq_str(name, "Local"))
        return load_local(out, d);
    return load_named(name, out, d);
}
