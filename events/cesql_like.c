/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns of LIKE. A pattern is a row of segments with % between them: the first must match at the beginning of the
 * text, the last at its end, those between one after the other, each at the first place where it fits: if any way
 * matches, this one does, so nothing is ever tried twice. A segment without _ is found in linear time. Pure functions.
 */
#include "cesql_private.h"

/* \% and \_ are the characters, % and _ the wildcards; any other backslash is itself. */
size_t cesql_pattern_compile(struct slice text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\\' && i + 1 < text.len && (text.ptr[i + 1] == '%' || text.ptr[i + 1] == '_'))
            out[n++] = text.ptr[++i];
        else
            out[n++] = c == '%' ? (char)CESQL_PATTERN_ANY : c == '_' ? (char)CESQL_PATTERN_ONE : c;
    }
    return n;
}

static bool is_one(char c)
{
    return (unsigned char)c == CESQL_PATTERN_ONE;
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* The segment at the beginning of the text: what is left behind it. */
static bool match_begin(struct slice segment, struct slice *text)
{
    const char *s = text->ptr, *end = s + text->len;
    for (size_t i = 0; i < segment.len; i++) {
        if (s == end || (*s != segment.ptr[i] && !is_one(segment.ptr[i])))
            return false;
        s++;
        while (is_one(segment.ptr[i]) && s < end && continues(*s))
            s++;
    }
    *text = slice_of(s, (size_t)(end - s));
    return true;
}

static bool match_end(struct slice segment, struct slice text)
{
    const char *s = text.ptr + text.len;
    for (size_t i = segment.len; i > 0; i--) {
        char c = segment.ptr[i - 1];
        if (s == text.ptr)
            return false;
        s--;
        while (is_one(c) && s > text.ptr && continues(*s))
            s--;
        if (!is_one(c) && *s != c)
            return false;
    }
    return true;
}

/* The segment at the first place where it fits. It begins with wildcards for `lead` characters, then a run of plain
 * bytes, which is looked for; the rest is compared where that stands. */
static bool match_within(struct slice segment, struct slice *text, size_t *work, size_t work_max)
{
    size_t lead = 0, plain = 0;
    while (lead < segment.len && is_one(segment.ptr[lead]))
        lead++;
    if (!match_begin(slice_of(segment.ptr, lead), text))
        return false;
    if (lead == segment.len)
        return true;
    segment = slice_from(segment, lead);
    while (plain < segment.len && !is_one(segment.ptr[plain]))
        plain++;
    while (text->len >= segment.len && *work <= work_max) {
        const char *hit = memmem(text->ptr, text->len, segment.ptr, plain);
        if (!hit)
            return false;
        struct slice rest = slice_from(*text, (size_t)(hit - text->ptr) + plain);
        if (match_begin(slice_from(segment, plain), &rest)) {
            *text = rest;
            return true;
        }
        *work += segment.len;
        *text = slice_from(*text, (size_t)(hit - text->ptr) + 1);
    }
    return false;
}

bool cesql_pattern_match(struct slice pattern, struct slice text, size_t *work, size_t work_max)
{
    struct slice segment = slice_split(&pattern, (char)CESQL_PATTERN_ANY);
    if (!text.ptr)
        text.ptr = "";
    if (!match_begin(segment, &text))
        return false;
    if (!pattern.ptr) /* no % at all */
        return text.len == 0;
    for (;;) {
        segment = slice_split(&pattern, (char)CESQL_PATTERN_ANY);
        if (!pattern.ptr)
            return match_end(segment, text);
        if (!match_within(segment, &text, work, work_max))
            return false;
    }
}
