/* SPDX-License-Identifier: Apache-2.0
 *
 * Text forms: UTF-8, base64, hexadecimal, percent-coding, RFC 3339 times. Numbers and durations are in text_numbers.c.
 * Pure functions, any thread.
 */
#include "text.h"

#include <assert.h>

/* ---- UTF-8 (RFC 3629) ---- */

size_t utf8_decode(struct slice s, uint32_t *code_point)
{
    assert(s.len > 0);
    const unsigned char *p = (const unsigned char *)s.ptr;
    uint32_t c = p[0];
    if (c < 0x80) {
        *code_point = c;
        return 1;
    }
    size_t n = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || s.len < n)
        return 0;
    uint32_t v = c & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3Fu);
    }
    /* The first bytes C0 and C1 are out already; what is left of the overlong forms shows in the value. */
    if ((n == 3 && (v < 0x800 || (v >= 0xD800 && v <= 0xDFFF))) || (n == 4 && (v < 0x10000 || v > 0x10FFFF)))
        return 0;
    *code_point = v;
    return n;
}

bool utf8_valid(struct slice s)
{
    while (s.len) {
        uint64_t word;
        if (s.len >= sizeof word) { /* eight ASCII bytes at once: nearly all text is */
            memcpy(&word, s.ptr, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                s = slice_from(s, sizeof word);
                continue;
            }
        }
        uint32_t code_point;
        size_t n = utf8_decode(s, &code_point);
        if (!n)
            return false;
        s = slice_from(s, n);
    }
    return true;
}

size_t utf8_encode(uint32_t c, char out[4])
{
    assert(c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF));
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(c | (0xF00u >> n & 0xFF));
    return n;
}

/* ---- base64 (RFC 4648 section 4) ---- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct buf *b, struct slice bytes)
{
    size_t total = (bytes.len + 2) / 3 * 4;
    char *out = buf_reserve(b, total);
    if (!out)
        return;
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    size_t left = bytes.len;
    for (; left >= 3; left -= 3, p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = base64_digits[v >> 6 & 63];
        *out++ = base64_digits[v & 63];
    }
    if (left) {
        uint32_t v = (uint32_t)p[0] << 16 | (left == 2 ? (uint32_t)p[1] << 8 : 0);
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = left == 2 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = '=';
    }
    b->len += total;
}

/* The value of a digit plus one, so that what the table leaves out is 0. */
static const unsigned char base64_value[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

enum err base64_decode_into(struct slice text, char *out, size_t *out_len)
{
    if (text.len % 4)
        return ERR_INVALID;
    size_t groups = text.len / 4, len = 0;
    const unsigned char *p = (const unsigned char *)text.ptr;
    for (size_t i = 0; i < groups; i++, p += 4) {
        unsigned pad = 0;
        if (i == groups - 1)
            pad = p[3] != '=' ? 0 : p[2] != '=' ? 1 : 2;
        uint32_t v = 0;
        for (unsigned k = 0; k < 4; k++) {
            unsigned digit = k >= 4 - pad ? 1 : base64_value[p[k]];
            if (!digit)
                return ERR_INVALID;
            v = v << 6 | (digit - 1);
        }
        /* Bits that belong to no byte must be zero, else two texts would mean the same bytes. */
        if ((pad == 1 && (v & 0xFF)) || (pad == 2 && (v & 0xFFFF)))
            return ERR_INVALID;
        if (out) {
            out[len] = (char)(v >> 16);
            if (pad < 2)
                out[len + 1] = (char)(v >> 8);
            if (pad < 1)
                out[len + 2] = (char)v;
        }
        len += 3 - pad;
    }
    *out_len = len;
    return OK;
}

enum err base64_decode(struct slice text, struct buf *out)
{
    size_t len;
    enum err e = base64_decode_into(text, NULL, &len); /* first without writing: outputs stay untouched on failure */
    if (e)
        return e;
    char *room = buf_reserve(out, len);
    if (!room && len)
        return buf_error(out);
    if (len)
        e = base64_decode_into(text, room, &len);
    assert(!e);
    out->len += len;
    return OK;
}

/* ---- hexadecimal, percent-coding ---- */

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    int lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void hex_put(struct buf *b, struct slice bytes)
{
    char *out = buf_reserve(b, bytes.len * 2);
    if (!out)
        return;
    for (size_t i = 0; i < bytes.len; i++) {
        *out++ = "0123456789abcdef"[(unsigned char)bytes.ptr[i] >> 4];
        *out++ = "0123456789abcdef"[bytes.ptr[i] & 15];
    }
    b->len += bytes.len * 2;
}

enum err hex_decode(struct slice text, unsigned char *out, size_t n)
{
    if (text.len != 2 * n)
        return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.ptr[i]) < 0)
            return ERR_INVALID;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)(hex_digit(text.ptr[2 * i]) << 4 | hex_digit(text.ptr[2 * i + 1]));
    return OK;
}

enum err percent_decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '%')
            continue;
        if (text.len - i < 3 || hex_digit(text.ptr[i + 1]) < 0 || hex_digit(text.ptr[i + 2]) < 0)
            return ERR_INVALID;
        if (text.ptr[i + 1] == '0' && text.ptr[i + 2] == '0')
            return ERR_INVALID;
        i += 2;
    }
    char *start = buf_reserve(out, text.len), *p = start;
    if (!start)
        return text.len ? buf_error(out) : OK;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%') {
            *p++ = (char)(hex_digit(text.ptr[i + 1]) << 4 | hex_digit(text.ptr[i + 2]));
            i += 2;
        } else {
            *p++ = text.ptr[i];
        }
    }
    out->len += (size_t)(p - start);
    return OK;
}

/* ---- RFC 3339 ---- */

/* Reads exactly n digits; -1 otherwise. */
static int digits(const char *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

static bool leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in(int64_t year, int month)
{
    static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && leap(year) ? 29 : days[month - 1];
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. The year is taken to begin in March, so that the
 * leap day is its last; an era is 400 years, 146097 days. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468; /* 719468: from 0000-03-01 to 1970-01-01 */
}

static void civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

/* "Z" or "+hh:mm" as the whole of `s`: seconds east of UTC. */
static bool zone(struct slice s, int *offset)
{
    *offset = 0;
    if (s.len == 1)
        return (s.ptr[0] | 0x20) == 'z';
    if (s.len != 6 || (s.ptr[0] != '+' && s.ptr[0] != '-') || s.ptr[3] != ':')
        return false;
    int h = digits(s.ptr + 1, 2), m = digits(s.ptr + 4, 2);
    if (h < 0 || h > 23 || m < 0 || m > 59)
        return false;
    *offset = (h * 3600 + m * 60) * (s.ptr[0] == '-' ? -1 : 1);
    return true;
}

enum err rfc3339_parse(struct slice text, int64_t *wall_ns)
{
    const char *p = text.ptr;
    if (text.len < 20 || p[4] != '-' || p[7] != '-' || (p[10] | 0x20) != 't' || p[13] != ':' || p[16] != ':')
        return ERR_INVALID;
    int year = digits(p, 4), month = digits(p + 5, 2), day = digits(p + 8, 2);
    int hour = digits(p + 11, 2), minute = digits(p + 14, 2), second = digits(p + 17, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
        return ERR_INVALID;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return ERR_INVALID;
    size_t i = 19;
    int64_t fraction = 0;
    if (p[i] == '.') {
        int64_t unit = 100000000;
        size_t first = ++i;
        for (; i < text.len && p[i] >= '0' && p[i] <= '9'; i++, unit /= 10)
            fraction += unit * (p[i] - '0');
        if (i == first)
            return ERR_INVALID;
    }
    int offset;
    if (!zone(slice_from(text, i), &offset))
        return ERR_INVALID;
    int64_t s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    int64_t ns;
    if (__builtin_mul_overflow(s, (int64_t)1000000000, &ns) || __builtin_add_overflow(ns, fraction, &ns))
        ns = s < 0 ? INT64_MIN : INT64_MAX;
    *wall_ns = ns;
    return OK;
}

void rfc3339_put(struct buf *b, int64_t wall_ns, int digit_count)
{
    assert(digit_count == 0 || digit_count == 3 || digit_count == 6 || digit_count == 9);
    int64_t s = wall_ns / 1000000000, fraction = wall_ns % 1000000000;
    if (fraction < 0) {
        fraction += 1000000000;
        s--;
    }
    int64_t day_number = s / 86400, rest = s % 86400;
    if (rest < 0) {
        rest += 86400;
        day_number--;
    }
    int64_t year;
    int month, day;
    civil_from_days(day_number, &year, &month, &day);
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, month, day, (int)(rest / 3600), (int)(rest / 60 % 60),
               (int)(rest % 60));
    for (int cut = digit_count; cut < 9; cut++)
        fraction /= 10;
    if (digit_count)
        buf_printf(b, ".%0*d", digit_count, (int)fraction);
    buf_put_char(b, 'Z');
}
