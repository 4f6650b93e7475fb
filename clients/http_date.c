/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP-date: each form is put into the order of RFC 3339, whose parser knows the calendar. Any thread.
 */
#include "http_date.h"

#include "text.h"

/* Positions in the text behind the weekday. */
struct layout {
    size_t len, day, month, year, time;
    int year_digits;
};

static const struct layout fixdate = {24, 0, 3, 7, 12, 4};      /* 06 Nov 1994 08:49:37 GMT */
static const struct layout rfc850 = {22, 0, 3, 7, 10, 2};       /* 06-Nov-94 08:49:37 GMT */
static const struct layout asctime_form = {20, 4, 0, 16, 7, 4}; /* Nov  6 08:49:37 1994 */

static int month_number(const char *name)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++)
        if (memcmp(name, names + (size_t)i * 3, 3) == 0)
            return i + 1;
    return 0;
}

enum err http_date_parse(struct slice text, int64_t *wall_ns)
{
    struct slice rest = text;
    slice_split(&rest, ',');
    const struct layout *l = &asctime_form;
    if (rest.ptr) { /* ", " behind the weekday */
        l = rest.len == 1 + fixdate.len ? &fixdate : &rfc850;
        rest = rest.len ? slice_from(rest, 1) : rest;
        if (!slice_has_suffix(rest, SLICE(" GMT")))
            return ERR_INVALID;
    } else {
        rest = text.len > 4 ? slice_from(text, 4) : text;
    }
    if (rest.len != l->len)
        return ERR_INVALID;
    const char *s = rest.ptr;
    int month = month_number(s + l->month);
    /* Two digits: nobody sends dates of before 1970. */
    const char *century = l->year_digits == 4 ? "" : s[l->year] >= '7' ? "19" : "20";
    char day = s[l->day] == ' ' ? '0' : s[l->day];
    struct buf b;
    buf_init(&b, 64);
    buf_printf(&b, "%s%.*s-%02d-%c%cT%.8sZ", century, l->year_digits, s + l->year, month, day, s[l->day + 1],
               s + l->time);
    enum err e = buf_error(&b);
    if (e == OK)
        e = rfc3339_parse(buf_slice(&b), wall_ns);
    buf_fini(&b);
    return e;
}
