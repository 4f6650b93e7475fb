/* SPDX-License-Identifier: Apache-2.0
 *
 * Text forms that stand for a quantity: decimal numbers, sizes in bytes, durations. Pure functions, any thread.
 */
#include "text.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

enum err decimal_parse(struct slice text, uint64_t max, uint64_t *out)
{
    if (!text.len)
        return ERR_INVALID;
    uint64_t v = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return ERR_INVALID;
    }
    if (v > max)
        return ERR_INVALID;
    *out = v;
    return OK;
}

/* The digits at the front of *rest, taken off it. */
static struct slice take_digits(struct slice *rest)
{
    size_t n = 0;
    while (n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9')
        n++;
    struct slice taken = slice_of(rest->ptr, n);
    *rest = slice_from(*rest, n);
    return taken;
}

enum err bytes_parse(struct slice text, uint64_t *out, struct diag *d)
{
    static const struct {
        struct slice name;
        uint64_t factor;
    } units[] = {
        {SLICE_INIT(""), 1},
        {SLICE_INIT("B"), 1},
        {SLICE_INIT("KiB"), 1ull << 10},
        {SLICE_INIT("MiB"), 1ull << 20},
        {SLICE_INIT("GiB"), 1ull << 30},
        {SLICE_INIT("TiB"), 1ull << 40},
    };
    struct slice rest = text, number = take_digits(&rest);
    uint64_t v;
    if (decimal_parse(number, UINT64_MAX, &v) == OK) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
            if (!slice_eq(rest, units[i].name))
                continue;
            if (__builtin_mul_overflow(v, units[i].factor, &v))
                return diag_set(d, ERR_INVALID, "\"%.*s\" is more than 64 bits can count", SLICE_ARG(text));
            *out = v;
            return OK;
        }
    }
    return diag_set(d, ERR_INVALID, "\"%.*s\" is no size; write bytes, or a number with KiB, MiB or GiB, such as 64KiB",
                    SLICE_ARG(text));
}

/* "12" or, when fractions are allowed, "12.34" in units of unit_ns, taken off *rest. Digits below a nanosecond are cut.
 * */
static bool take_amount(struct slice *rest, uint64_t unit_ns, bool *fraction, uint64_t *ns)
{
    struct slice whole = take_digits(rest);
    uint64_t v;
    if (decimal_parse(whole, UINT64_MAX, &v) || __builtin_mul_overflow(v, unit_ns, &v))
        return false;
    *fraction = rest->len && (rest->ptr[0] == '.' || rest->ptr[0] == ',');
    if (*fraction) {
        *rest = slice_from(*rest, 1);
        struct slice part = take_digits(rest);
        if (!part.len)
            return false;
        uint64_t unit = unit_ns;
        for (size_t i = 0; i < part.len; i++) {
            /* unit_ns is a multiple of a power of ten up to nanoseconds; below that nothing is left to add. */
            unit /= 10;
            if (__builtin_add_overflow(v, unit * (unsigned)(part.ptr[i] - '0'), &v))
                return false;
        }
    }
    *ns = v;
    return true;
}

static enum err no_duration(struct diag *d, struct slice text, const char *why)
{
    return diag_set(d, ERR_INVALID, "\"%.*s\" is no ISO 8601 duration: %s; an example is PT0.2S or PT5M",
                    SLICE_ARG(text), why);
}

static uint64_t unit_of(char c, bool time_part)
{
    if (time_part)
        return c == 'H' ? 3600 * NS_PER_S : c == 'M' ? 60 * NS_PER_S : c == 'S' ? NS_PER_S : 0;
    return c == 'W' ? 7 * 86400 * NS_PER_S : c == 'D' ? 86400 * NS_PER_S : 0;
}

/* The designators must come in this order, each at most once; weeks stand alone. */
static int rank_of(char c, bool time_part)
{
    const char *order = time_part ? "HMS" : "WD";
    const char *at = strchr(order, c);
    return (int)(at - order) + (time_part ? 2 : 0);
}

enum err iso8601_duration_parse(struct slice text, uint64_t *ns, struct diag *d)
{
    struct slice rest = text;
    if (!rest.len || rest.ptr[0] != 'P')
        return no_duration(d, text, "it does not begin with P");
    rest = slice_from(rest, 1);
    uint64_t total = 0;
    bool time_part = false, any = false, fraction = false, weeks = false;
    int rank = -1;
    while (rest.len) {
        if (rest.ptr[0] == 'T') {
            if (time_part || rest.len == 1)
                return no_duration(d, text, "T stands once and before hours, minutes or seconds");
            time_part = true;
            rest = slice_from(rest, 1);
            continue;
        }
        struct slice probe = rest;
        take_digits(&probe);
        if (probe.len && (probe.ptr[0] == '.' || probe.ptr[0] == ',')) {
            probe = slice_from(probe, 1);
            take_digits(&probe);
        }
        if (probe.len == rest.len || !probe.len)
            return no_duration(d, text, "a number with its unit is expected");
        char c = probe.ptr[0];
        if (!time_part && (c == 'Y' || c == 'M'))
            return no_duration(d, text, "years and months have no fixed length");
        uint64_t unit = unit_of(c, time_part), part;
        if (!unit || rank_of(c, time_part) <= rank || weeks)
            return no_duration(d, text, "the units are D, then after T H, M and S, in this order; or W alone");
        if (fraction)
            return no_duration(d, text, "only the last number may have a fraction");
        if (!take_amount(&rest, unit, &fraction, &part) || __builtin_add_overflow(total, part, &total))
            return no_duration(d, text, "a number is malformed or too large");
        if (fraction && c != 'S')
            return no_duration(d, text, "only seconds may have a fraction");
        rest = slice_from(rest, 1);
        rank = rank_of(c, time_part);
        weeks = c == 'W';
        any = true;
    }
    if (!any)
        return no_duration(d, text, "it has no number");
    *ns = total;
    return OK;
}

enum err duration_parse(struct slice text, uint64_t *ns, struct diag *d)
{
    if (text.len && text.ptr[0] == 'P')
        return iso8601_duration_parse(text, ns, d);
    static const struct {
        struct slice name;
        uint64_t ns;
    } units[] = {
        {SLICE_INIT("ns"), 1},
        {SLICE_INIT("us"), 1000},
        {SLICE_INIT("ms"), NS_PER_MS},
        {SLICE_INIT("s"), NS_PER_S},
        {SLICE_INIT("m"), 60 * NS_PER_S},
        {SLICE_INIT("h"), 3600 * NS_PER_S},
        {SLICE_INIT("d"), 86400 * NS_PER_S},
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!slice_has_suffix(text, units[i].name))
            continue;
        struct slice number = slice_of(text.ptr, text.len - units[i].name.len);
        uint64_t v;
        bool fraction;
        if (take_amount(&number, units[i].ns, &fraction, &v) && !number.len) {
            *ns = v;
            return OK;
        }
    }
    return diag_set(
        d, ERR_INVALID,
        "\"%.*s\" is no duration; write a number with ms, s, m or h, such as 500ms, or ISO 8601 such as PT5M",
        SLICE_ARG(text));
}
