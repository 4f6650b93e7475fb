/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of CloudEvents 1.0.2 for names, values and types, and the texts that say which one was broken. Pure
 * functions, any thread.
 */
#include "event_private.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "text.h"

const unsigned char ce_byte_class[256] = {
    [0 ... 0x1F] = BYTE_CONTROL, [0x7F] = BYTE_CONTROL, [0x80 ... 0xFF] = BYTE_HIGH, [' '] = BYTE_SPACE,
    ['"'] = BYTE_QUOTE,          ['%'] = BYTE_PERCENT,  ['\\'] = BYTE_BACKSLASH,
};

const struct slice ce_core_names[CORE_NONE] = {
    [CORE_SPECVERSION] = SLICE_INIT("specversion"),
    [CORE_ID] = SLICE_INIT("id"),
    [CORE_SOURCE] = SLICE_INIT("source"),
    [CORE_TYPE] = SLICE_INIT("type"),
    [CORE_DATACONTENTTYPE] = SLICE_INIT("datacontenttype"),
    [CORE_DATASCHEMA] = SLICE_INIT("dataschema"),
    [CORE_SUBJECT] = SLICE_INIT("subject"),
    [CORE_TIME] = SLICE_INIT("time"),
};

/* Classes of RFC 3986 appendix A, and tchar of RFC 9110 section 5.6.2. */
enum {
    NAME = 1, /* unreserved and sub-delims */
    COLON = 2,
    AT = 4,
    SLASH = 8,
    QUESTION = 16,
    SCHEME = 32,
    ALPHA = 64,
    TOKEN = 128,
    PATH = NAME | COLON | AT | SLASH,
    QUERY = PATH | QUESTION
};

static const unsigned char text_class[256] = {
    ['a' ... 'z'] = NAME | SCHEME | ALPHA | TOKEN,
    ['A' ... 'Z'] = NAME | SCHEME | ALPHA | TOKEN,
    ['0' ... '9'] = NAME | SCHEME | TOKEN,
    ['-'] = NAME | SCHEME | TOKEN,
    ['.'] = NAME | SCHEME | TOKEN,
    ['+'] = NAME | SCHEME | TOKEN,
    ['_'] = NAME | TOKEN,
    ['~'] = NAME | TOKEN,
    ['!'] = NAME | TOKEN,
    ['$'] = NAME | TOKEN,
    ['&'] = NAME | TOKEN,
    ['\''] = NAME | TOKEN,
    ['*'] = NAME | TOKEN,
    ['('] = NAME,
    [')'] = NAME,
    [','] = NAME,
    [';'] = NAME,
    ['='] = NAME,
    [':'] = COLON,
    ['@'] = AT,
    ['/'] = SLASH,
    ['?'] = QUESTION,
    ['#'] = TOKEN,
    ['%'] = TOKEN,
    ['^'] = TOKEN,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
};

static bool is(char c, unsigned class)
{
    return text_class[(unsigned char)c] & class;
}

/* ---- names ---- */

static enum core core_if(struct slice name, const char *expected, size_t len, enum core core)
{
    return memcmp(name.ptr, expected, len) == 0 ? core : CORE_NONE;
}

enum core ce_core_of(struct slice name)
{
    switch (name.len) { /* constant lengths, so that no comparison is a call */
    case 2:
        return core_if(name, "id", 2, CORE_ID);
    case 4:
        return name.ptr[1] == 'y' ? core_if(name, "type", 4, CORE_TYPE) : core_if(name, "time", 4, CORE_TIME);
    case 6:
        return core_if(name, "source", 6, CORE_SOURCE);
    case 7:
        return core_if(name, "subject", 7, CORE_SUBJECT);
    case 10:
        return core_if(name, "dataschema", 10, CORE_DATASCHEMA);
    case 11:
        return core_if(name, "specversion", 11, CORE_SPECVERSION);
    case 15:
        return core_if(name, "datacontenttype", 15, CORE_DATACONTENTTYPE);
    default:
        return CORE_NONE;
    }
}

const enum ce_type ce_core_types[CORE_NONE] = {
    [CORE_SOURCE] = CE_URI_REFERENCE, [CORE_DATASCHEMA] = CE_URI, [CORE_TIME] = CE_TIMESTAMP, /* the others: CE_STRING
                                                                                               */
};

enum err ce_name_check(struct slice name, struct diag *d)
{
    if (!name.len)
        return diag_set(d, ERR_INVALID, "an attribute without a name");
    if (name.len > CE_NAME_LEN_MAX)
        return diag_set(d, ERR_INVALID, "attribute %s: the name is longer than %d characters", ce_quote(name).text,
                        CE_NAME_LEN_MAX);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return diag_set(d, ERR_INVALID, "attribute %s: a name consists of a-z and 0-9", ce_quote(name).text);
    }
    if (slice_eq(name, SLICE("data")))
        return diag_set(d, ERR_INVALID, "attribute \"data\": no attribute may be called so");
    return OK;
}

/* ---- URIs (RFC 3986) ---- */

/* A run of characters of these classes and of percent escapes. */
static bool uri_run(struct slice s, unsigned class)
{
    for (size_t i = 0; i < s.len; i++) {
        if (is(s.ptr[i], class))
            continue;
        if (s.ptr[i] != '%' || s.len - i < 3 || hex_digit(s.ptr[i + 1]) < 0 || hex_digit(s.ptr[i + 2]) < 0)
            return false;
        i += 2;
    }
    return true;
}

/* What stands between brackets: an IPv6 address or the form kept for later versions ("v1.x"). */
static bool uri_ip_literal(struct slice s)
{
    if (s.len && (s.ptr[0] | 0x20) == 'v') {
        struct slice rest = slice_from(s, 1), version = slice_split(&rest, '.');
        for (size_t i = 0; i < version.len; i++)
            if (hex_digit(version.ptr[i]) < 0)
                return false;
        return version.len && rest.len && !memchr(rest.ptr, '%', rest.len) && uri_run(rest, NAME | COLON);
    }
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (s.len >= sizeof text)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool uri_authority(struct slice s)
{
    const char *at = s.len ? memchr(s.ptr, '@', s.len) : NULL;
    if (at) {
        struct slice user = slice_of(s.ptr, (size_t)(at - s.ptr));
        if (!uri_run(user, NAME | COLON))
            return false;
        s = slice_from(s, user.len + 1);
    }
    if (s.len && s.ptr[0] == '[') {
        const char *close = memchr(s.ptr, ']', s.len);
        if (!close || !uri_ip_literal(slice_of(s.ptr + 1, (size_t)(close - s.ptr - 1))))
            return false;
        s = slice_from(s, (size_t)(close - s.ptr) + 1);
        if (s.len && s.ptr[0] != ':')
            return false;
    }
    struct slice port = s, host = slice_split(&port, ':');
    for (size_t i = 0; i < port.len; i++)
        if (port.ptr[i] < '0' || port.ptr[i] > '9')
            return false;
    return uri_run(host, NAME);
}

static bool uri_valid(struct slice s, bool absolute)
{
    size_t i = 0;
    while (i < s.len && is(s.ptr[i], SCHEME))
        i++;
    bool scheme = i < s.len && s.ptr[i] == ':';
    if (scheme && (i == 0 || !is(s.ptr[0], ALPHA)))
        return false; /* also a relative path whose first segment has a colon */
    if (absolute && !scheme)
        return false;
    if (scheme)
        s = slice_from(s, i + 1);
    struct slice fragment = s, before = slice_split(&fragment, '#');
    if (absolute && fragment.ptr)
        return false;
    struct slice query = before, path = slice_split(&query, '?');
    if (slice_has_prefix(path, SLICE("//"))) {
        path = slice_from(path, 2);
        const char *slash = path.len ? memchr(path.ptr, '/', path.len) : NULL;
        struct slice authority = slice_of(path.ptr, slash ? (size_t)(slash - path.ptr) : path.len);
        if (!uri_authority(authority))
            return false;
        path = slice_from(path, authority.len);
    } else if (!scheme) {
        struct slice rest = path, segment = slice_split(&rest, '/');
        if (segment.len && memchr(segment.ptr, ':', segment.len))
            return false;
    }
    return uri_run(path, PATH) && uri_run(query, QUERY) && uri_run(fragment, QUERY);
}

void ce_fragment_put(struct buf *b, const char *uri, struct slice fragment)
{
    buf_put_str(b, uri);
    buf_put_char(b, '#');
    for (size_t i = 0; i < fragment.len; i++) {
        if (is(fragment.ptr[i], QUERY))
            buf_put_char(b, fragment.ptr[i]);
        else
            buf_printf(b, "%%%02X", (unsigned char)fragment.ptr[i]);
    }
}

/* ---- values ---- */

struct quoted ce_quote(struct slice value)
{
    struct quoted q;
    char *to = q.text, *limit = q.text + sizeof q.text - 10; /* room for one escape, "...", quote and the end */
    *to++ = '"';
    size_t i = 0;
    for (; i < value.len && to < limit; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c >= 0x20 && c < 0x7F)
            *to++ = (char)c;
        else
            to += snprintf(to, 5, "\\x%02X", c);
    }
    memcpy(to, i < value.len ? "...\"" : "\"", i < value.len ? 5 : 2);
    return q;
}

/* String: no control characters, no noncharacters, well-formed UTF-8. */
static enum err string_check(struct slice s, unsigned classes, struct diag *d)
{
    if (classes & BYTE_CONTROL)
        return diag_set(d, ERR_INVALID, "%s contains a control character", ce_quote(s).text);
    if (!(classes & BYTE_HIGH))
        return OK;
    for (struct slice rest = s; rest.len;) {
        uint32_t c;
        size_t n = utf8_decode(rest, &c);
        if (!n)
            return diag_set(d, ERR_INVALID, "%s is not valid UTF-8", ce_quote(s).text);
        if (c >= 0x7F && c <= 0x9F)
            return diag_set(d, ERR_INVALID, "%s contains a control character", ce_quote(s).text);
        if ((c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE)
            return diag_set(d, ERR_INVALID, "%s contains the noncharacter U+%04X", ce_quote(s).text, (unsigned)c);
        rest = slice_from(rest, n);
    }
    return OK;
}

enum err ce_value_check_classes(enum ce_type type, struct slice value, unsigned classes, struct diag *d)
{
    enum err e = string_check(value, classes, d);
    if (e)
        return e;
    int64_t ignored_ns;
    size_t ignored_len;
    int32_t ignored_int;
    const char *what = NULL;
    switch (type) {
    case CE_STRING:
        break;
    case CE_BOOLEAN:
        if (!slice_eq(value, SLICE("true")) && !slice_eq(value, SLICE("false")))
            what = "neither true nor false";
        break;
    case CE_INTEGER:
        if (!json_int32(value, &ignored_int))
            what = "no integer of 32 bits";
        break;
    case CE_BINARY:
        if (base64_decode_into(value, NULL, &ignored_len))
            what = "no base64 (RFC 4648 section 4, with padding)";
        break;
    case CE_URI:
        if (!uri_valid(value, true))
            what = "no absolute URI (RFC 3986 section 4.3: with a scheme, without a fragment)";
        break;
    case CE_URI_REFERENCE:
        if (!uri_valid(value, false))
            what = "no URI reference (RFC 3986 section 4.1)";
        break;
    case CE_TIMESTAMP:
        if (rfc3339_parse(value, &ignored_ns))
            what = "no RFC 3339 timestamp";
        break;
    }
    return what ? diag_set(d, ERR_INVALID, "%s is %s", ce_quote(value).text, what) : OK;
}

enum err ce_value_check(enum ce_type type, struct slice value, struct diag *d)
{
    return ce_value_check_classes(type, value, ce_classify(value), d);
}

/* ---- media types ---- */

static size_t token(struct slice s)
{
    size_t n = 0;
    while (n < s.len && is(s.ptr[n], TOKEN))
        n++;
    return n;
}

/* The length of a quoted string at the front, 0 when there is none. */
static size_t quoted_string(struct slice s)
{
    if (!s.len || s.ptr[0] != '"')
        return 0;
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"')
            return i + 1;
        if (s.ptr[i] == '\\')
            i++;
    }
    return 0;
}

bool ce_media_type_valid(struct slice s)
{
    if (slice_trim(s).len != s.len)
        return false; /* a header line would lose it (RFC 9110 section 5.5), and the event must arrive as it was sent */
    if (ce_classify(s) & (BYTE_CONTROL | BYTE_HIGH))
        return false;
    size_t n = token(s);
    if (!n || n == s.len || s.ptr[n] != '/')
        return false;
    s = slice_from(s, n + 1);
    n = token(s);
    if (!n)
        return false;
    s = slice_trim(slice_from(s, n));
    while (s.len) {
        if (s.ptr[0] != ';')
            return false;
        s = slice_trim(slice_from(s, 1));
        if (!s.len || s.ptr[0] == ';')
            continue; /* an empty parameter is allowed */
        n = token(s);
        if (!n || n == s.len || s.ptr[n] != '=')
            return false;
        s = slice_from(s, n + 1);
        n = quoted_string(s);
        if (!n)
            n = token(s);
        if (!n)
            return false;
        s = slice_trim(slice_from(s, n));
    }
    return true;
}

struct slice ce_media_type_essence(struct slice text)
{
    return slice_trim(slice_split(&text, ';'));
}

bool ce_media_type_is_json(struct slice media_type)
{
    if (!media_type.len)
        return true;
    struct slice essence = ce_media_type_essence(media_type);
    const char *slash = essence.len ? memchr(essence.ptr, '/', essence.len) : NULL;
    if (!slash)
        return false;
    struct slice subtype = slice_from(essence, (size_t)(slash - essence.ptr) + 1);
    return slice_eq_nocase(subtype, SLICE("json")) ||
           (subtype.len >= 5 && slice_eq_nocase(slice_from(subtype, subtype.len - 5), SLICE("+json")));
}
