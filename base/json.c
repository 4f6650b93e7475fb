/* SPDX-License-Identifier: Apache-2.0
 *
 * A strict scanner of JSON text. json_check walks the bytes once with one bit of memory per open array or object;
 * everything else relies on what it has accepted and skips along quotes and brackets without checking again. Pure
 * functions, any thread.
 *
 *          +--------------------- , ------------------+      ("member" inside an object, "value" inside an array)
 *          v                                          |
 *   --> VALUE -- scalar, empty or closed container --> AFTER -- depth 0 --> end of text
 *          |  ^                                       | ^
 *          {  "name" :                                ] }  (closes the innermost)
 */
#include "json.h"
#include "text.h"

#include <assert.h>

struct scan {
    const char *start, *at, *end;
    struct diag *d;
};

static bool fail(struct scan *s, const char *why)
{
    int line = 1;
    const char *line_start = s->start;
    for (const char *p = s->start; p < s->at; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    if (s->d) {
        (void)diag_set(s->d, ERR_INVALID, "no valid JSON at byte %zu: %s", (size_t)(s->at - s->start), why);
        s->d->line = line;
        s->d->column = (int)(s->at - line_start) + 1;
    }
    return false;
}

static bool space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && space(*p))
        p++;
    return p;
}

/* Whether eight bytes may hold a quote, a backslash, a control character or a byte of a longer UTF-8 sequence. It may
 * say yes when there is none (a borrow), never no when there is one. */
static bool word_is_special(const char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t quote = (w ^ ones * '"') - ones, backslash = (w ^ ones * '\\') - ones, control = w - ones * 0x20;
    return ((quote | backslash | control | w) & ones * 0x80) != 0;
}

/* Four hexadecimal digits at p; -1 otherwise. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

static bool surrogate_high(int32_t unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static bool surrogate_low(int32_t unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

/* At a backslash. */
static bool scan_escape(struct scan *s)
{
    const char *p = s->at + 1;
    if (p < s->end && *p != '\0' && strchr("\"\\/bfnrt", *p)) {
        s->at += 2;
        return true;
    }
    if (p >= s->end || *p != 'u')
        return fail(s, "unknown escape in a string");
    int32_t unit = hex4(p + 1, s->end);
    if (unit < 0)
        return fail(s, "\\u needs four hexadecimal digits");
    if (surrogate_low(unit))
        return fail(s, "an unpaired surrogate");
    p += 5;
    if (surrogate_high(unit)) {
        if (s->end - p < 6 || p[0] != '\\' || p[1] != 'u' || !surrogate_low(hex4(p + 2, s->end)))
            return fail(s, "an unpaired surrogate");
        p += 6;
    }
    s->at = p;
    return true;
}

static bool scan_string(struct scan *s)
{
    s->at++;
    for (;;) {
        while (s->end - s->at >= 8 && !word_is_special(s->at))
            s->at += 8;
        if (s->at == s->end)
            return fail(s, "a string without its closing quote");
        unsigned char c = (unsigned char)*s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            if (!scan_escape(s))
                return false;
        } else if (c < 0x20) {
            return fail(s, "a control character in a string; write it as an escape");
        } else if (c < 0x80) {
            s->at++;
        } else {
            uint32_t code_point;
            size_t n = utf8_decode(slice_of(s->at, (size_t)(s->end - s->at)), &code_point);
            if (!n)
                return fail(s, "invalid UTF-8");
            s->at += n;
        }
    }
}

static bool digit_at(const struct scan *s)
{
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static bool scan_digits(struct scan *s)
{
    if (!digit_at(s))
        return fail(s, "a number needs a digit here");
    while (digit_at(s))
        s->at++;
    return true;
}

static bool scan_number(struct scan *s)
{
    if (*s->at == '-')
        s->at++;
    bool zero = digit_at(s) && *s->at == '0';
    if (zero)
        s->at++;
    if (zero && digit_at(s))
        return fail(s, "a number with a leading zero");
    if (!zero && !scan_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!scan_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at | 0x20) == 'e') {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!scan_digits(s))
            return false;
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word, size_t n)
{
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return fail(s, "a value is expected");
    s->at += n;
    return true;
}

static bool scan_scalar(struct scan *s)
{
    switch (*s->at) {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true", 4);
    case 'f':
        return scan_word(s, "false", 5);
    case 'n':
        return scan_word(s, "null", 4);
    case '-':
    case '0' ... '9':
        return scan_number(s);
    default:
        return fail(s, "a value is expected");
    }
}

/* A member's name and its colon. */
static bool scan_name(struct scan *s)
{
    s->at = skip_space(s->at, s->end);
    if (s->at == s->end || *s->at != '"')
        return fail(s, "a member's name in quotes is expected");
    if (!scan_string(s))
        return false;
    s->at = skip_space(s->at, s->end);
    if (s->at == s->end || *s->at != ':')
        return fail(s, "a colon is expected");
    s->at++;
    return true;
}

/* Which containers are open: bit n tells whether the one at depth n is an object. */
struct nest {
    int depth, max;
    unsigned char object[JSON_DEPTH_MAX / 8]; /* only the bits below `depth` mean anything */
};

static bool in_object(const struct nest *n)
{
    return n->object[(n->depth - 1) / 8] >> ((n->depth - 1) % 8) & 1;
}

static bool nest_open(struct scan *s, struct nest *n)
{
    if (n->depth == n->max)
        return fail(s, "nested too deep");
    unsigned bit = 1u << (n->depth % 8);
    unsigned char *byte = &n->object[n->depth / 8];
    *byte = (unsigned char)(*s->at == '{' ? *byte | bit : *byte & ~bit);
    n->depth++;
    s->at++;
    return true;
}

/* Behind a value: closes what ends here, and stands before the next value, or sets *done. */
static bool scan_after(struct scan *s, struct nest *n, bool *done)
{
    for (;;) {
        s->at = skip_space(s->at, s->end);
        *done = n->depth == 0;
        if (*done)
            return s->at == s->end || fail(s, "text after the value");
        bool object = in_object(n);
        if (s->at == s->end)
            return fail(s, object ? "an object without its closing brace" : "an array without its closing bracket");
        if (*s->at == ',') {
            s->at++;
            return !object || scan_name(s);
        }
        if (*s->at != (object ? '}' : ']'))
            return fail(s,
                        object ? "a comma or a closing brace is expected" : "a comma or a closing bracket is expected");
        s->at++;
        n->depth--;
    }
}

static enum json_type type_at(const char *p)
{
    switch (*p) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static bool scan_text(struct scan *s, struct nest *n)
{
    bool done = false;
    while (!done) {
        s->at = skip_space(s->at, s->end);
        if (s->at == s->end)
            return fail(s, "a value is expected, but the text ends");
        char c = *s->at;
        if (c == '{' || c == '[') {
            if (!nest_open(s, n))
                return false;
            s->at = skip_space(s->at, s->end);
            bool empty = s->at < s->end && *s->at == (c == '{' ? '}' : ']');
            if (!empty) {
                if (c == '{' && !scan_name(s))
                    return false;
                continue;
            }
            s->at++;
            n->depth--;
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (!scan_after(s, n, &done))
            return false;
    }
    return true;
}

enum err json_check(struct slice text, int depth_max, struct json_value *out, struct diag *d)
{
    assert(depth_max >= 0 && depth_max <= JSON_DEPTH_MAX);
    if (!text.len)
        text = SLICE(""); /* an empty slice may have no pointer to count from */
    struct scan s = {text.ptr, text.ptr, text.ptr + text.len, d};
    struct nest n;
    n.depth = 0;
    n.max = depth_max;
    if (!text.len) {
        (void)fail(&s, "the text is empty");
        return ERR_INVALID;
    }
    if (!scan_text(&s, &n))
        return ERR_INVALID;
    const char *first = skip_space(s.start, s.end), *last = s.end;
    while (space(last[-1]))
        last--;
    *out = (struct json_value){type_at(first), slice_of(first, (size_t)(last - first))};
    return OK;
}

/* ---- walking what json_check has accepted ---- */

/* Behind the string that begins at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++;;) {
        while (end - p >= 8 && !word_is_special(p))
            p += 8;
        assert(p < end);
        if (*p == '"')
            return p + 1;
        p += *p == '\\' ? 2 : 1;
    }
}

static const char *skip_value(const char *p, const char *end)
{
    if (*p == '"')
        return skip_string(p, end);
    if (*p != '{' && *p != '[') {
        while (p < end && *p != ',' && *p != '}' && *p != ']' && !space(*p))
            p++;
        return p;
    }
    size_t depth = 0;
    do {
        assert(p < end);
        char c = *p;
        if (c == '"') {
            p = skip_string(p, end);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        p++;
    } while (depth);
    return p;
}

void json_walk_begin(struct json_walk *w, struct json_value v)
{
    assert(v.type == JSON_OBJECT || v.type == JSON_ARRAY);
    assert(v.raw.len >= 2);
    w->at = v.raw.ptr + 1;
    w->end = v.raw.ptr + v.raw.len;
    w->name = (struct slice){NULL, 0};
    w->object = v.type == JSON_OBJECT;
}

bool json_walk_next(struct json_walk *w)
{
    const char *p = skip_space(w->at, w->end);
    if (*p == ',')
        p = skip_space(p + 1, w->end);
    if (*p == '}' || *p == ']') {
        w->at = p;
        return false;
    }
    if (w->object) {
        const char *name = p;
        p = skip_string(p, w->end);
        w->name = slice_of(name, (size_t)(p - name));
        p = skip_space(p, w->end);
        assert(*p == ':');
        p = skip_space(p + 1, w->end);
    }
    const char *value = p;
    p = skip_value(p, w->end);
    w->value = (struct json_value){type_at(value), slice_of(value, (size_t)(p - value))};
    w->at = p;
    return true;
}

/* Takes one character, plain or escaped, off *p: its bytes into out, returning their number. Bytes of a longer UTF-8
 * sequence are handed out one by one. */
static size_t take_character(const char **p, char out[4])
{
    if (**p != '\\') {
        out[0] = *(*p)++;
        return 1;
    }
    char c = (*p)[1];
    if (c != 'u') {
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *at = strchr(from, c);
        out[0] = at ? to[at - from] : c;
        *p += 2;
        return 1;
    }
    int32_t unit = hex4(*p + 2, *p + 6);
    *p += 6;
    assert(unit >= 0);
    uint32_t code_point = (uint32_t)unit;
    if (surrogate_high(unit)) {
        int32_t low = hex4(*p + 2, *p + 6);
        assert(surrogate_low(low));
        code_point = 0x10000u + ((code_point - 0xD800u) << 10) + ((uint32_t)low - 0xDC00u);
        *p += 6;
    }
    return utf8_encode(code_point, out);
}

static struct slice without_quotes(struct slice string)
{
    assert(string.len >= 2 && string.ptr[0] == '"' && string.ptr[string.len - 1] == '"');
    return slice_of(string.ptr + 1, string.len - 2);
}

size_t json_unescape_into(struct slice string, char *out)
{
    struct slice s = without_quotes(string);
    const char *p = s.ptr, *end = s.ptr + s.len;
    char *to = out;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(to, p, plain);
        to += plain;
        p += plain;
        if (escape) {
            char bytes[4]; /* an escape is never shorter than what it stands for, so `out` cannot overflow */
            size_t n = take_character(&p, bytes);
            memcpy(to, bytes, n);
            to += n;
        }
    }
    return (size_t)(to - out);
}

void json_unescape(struct slice string, struct buf *out)
{
    char *room = buf_reserve(out, string.len - 2);
    if (room)
        out->len += json_unescape_into(string, room);
}

bool json_string_is(struct slice string, struct slice characters)
{
    struct slice s = without_quotes(string);
    if (!memchr(s.ptr, '\\', s.len))
        return slice_eq(s, characters);
    const char *p = s.ptr, *end = s.ptr + s.len;
    while (p < end) {
        char bytes[4];
        size_t n = take_character(&p, bytes);
        if (characters.len < n || memcmp(characters.ptr, bytes, n) != 0)
            return false;
        characters = slice_from(characters, n);
    }
    return characters.len == 0;
}

bool json_int32(struct slice number, int32_t *out)
{
    struct slice rest = number;
    bool negative = rest.len && rest.ptr[0] == '-';
    if (negative)
        rest = slice_from(rest, 1);
    if (!rest.len || rest.len > 10 || (rest.ptr[0] == '0' && rest.len > 1))
        return false;
    int64_t v = 0;
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.ptr[i] < '0' || rest.ptr[i] > '9')
            return false;
        v = v * 10 + (rest.ptr[i] - '0');
    }
    if (negative)
        v = -v;
    if (v < INT32_MIN || v > INT32_MAX)
        return false;
    *out = (int32_t)v;
    return true;
}

bool json_find(struct json_value v, const char *const *path, struct json_value *out)
{
    for (; *path; path++) {
        if (v.type != JSON_OBJECT)
            return false;
        struct json_walk w;
        bool found = false;
        for (json_walk_begin(&w, v); !found && json_walk_next(&w);)
            found = json_string_is(w.name, slice_str(*path));
        if (!found)
            return false;
        v = w.value;
    }
    *out = v;
    return true;
}
