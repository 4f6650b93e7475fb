/* SPDX-License-Identifier: Apache-2.0
 *
 * Absolute http and https URLs (RFC 3986, RFC 9110 section 4.2). What passes can stand in a request line and a Host
 * header as it is: no white space, no control character, nothing beyond ASCII. Pure functions.
 */
#include <stdlib.h>

#include "http_client.h"
#include "text.h"

#define URL_BYTES_MAX 8192u /* what servers take as a request line */

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static enum err check_host(struct slice host, bool bracketed, struct diag *d)
{
    if (host.len == 0)
        return diag_set(d, ERR_INVALID, "the URL has no host");
    if (host.len > 255)
        return diag_set(d, ERR_INVALID, "the URL's host is longer than 255 characters");
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (bracketed ? !is_hex(c) && c != ':' && c != '.' : !is_alnum(c) && c != '-' && c != '.' && c != '_')
            return diag_set(d, ERR_INVALID, "the URL's host holds a character that no host name has%s",
                            (unsigned char)c >= 128 ? ": write names beyond ASCII in their xn-- form" : "");
    }
    if (bracketed && !memchr(host.ptr, ':', host.len))
        return diag_set(d, ERR_INVALID, "what stands in the URL's brackets is no IPv6 address");
    return OK;
}

/* "host", "host:port", "[v6]:port" */
static enum err split_authority(struct slice text, struct http_url *u, struct diag *d)
{
    if (text.len && memchr(text.ptr, '@', text.len))
        return diag_set(d, ERR_INVALID,
                        "the URL holds a user or password before an @: credentials do not belong there");
    struct slice port = {NULL, 0};
    bool bracketed = text.len && text.ptr[0] == '[';
    u->host = text;
    if (bracketed) {
        const char *end = memchr(text.ptr, ']', text.len);
        if (!end)
            return diag_set(d, ERR_INVALID, "the URL's bracket is not closed");
        u->host = slice_of(text.ptr + 1, (size_t)(end - text.ptr) - 1);
        port = slice_from(text, (size_t)(end - text.ptr) + 1);
        if (port.len && port.ptr[0] != ':')
            return diag_set(d, ERR_INVALID, "only a port may follow the URL's bracket");
        if (port.len)
            port = slice_from(port, 1);
    } else {
        port = text;
        u->host = slice_split(&port, ':');
    }
    enum err e = check_host(u->host, bracketed, d);
    if (e)
        return e;
    uint64_t number = u->tls ? 443 : 80, standard = number;
    if (port.len && (decimal_parse(port, UINT16_MAX, &number) || number == 0))
        return diag_set(d, ERR_INVALID, "the URL's port is no number from 1 to 65535");
    u->port = (uint16_t)number;
    u->authority = number == standard ? slice_of(text.ptr, u->host.len + (bracketed ? 2 : 0)) : text;
    return OK;
}

static enum err check_target(struct slice target, struct diag *d)
{
    for (size_t i = 0; i < target.len; i++) {
        char c = target.ptr[i];
        if (c <= ' ' || c == 0x7f || (unsigned char)c >= 128 || strchr("\"<>\\^`{|}", c))
            return diag_set(d, ERR_INVALID, "the URL's path holds a character that must be percent-coded");
        if (c == '%' && (target.len - i < 3 || !is_hex(target.ptr[i + 1]) || !is_hex(target.ptr[i + 2])))
            return diag_set(d, ERR_INVALID, "a %% in the URL is not followed by two hexadecimal digits");
    }
    return OK;
}

/* Splits u->text, of `len` bytes, whose authority begins at `at` and whose target, "/" at least, at `target`. */
static enum err split(struct http_url *u, size_t len, size_t at, size_t target, struct diag *d)
{
    u->target = slice_of(u->text + target, len - target);
    enum err e = split_authority(slice_of(u->text + at, target - at), u, d);
    return e ? e : check_target(u->target, d);
}

enum err http_url_parse(struct slice text, struct http_url *out, struct diag *d)
{
    struct http_url u = {.tls = slice_has_prefix_nocase(text, SLICE("https://"))};
    if (!u.tls && !slice_has_prefix_nocase(text, SLICE("http://")))
        return diag_set(d, ERR_INVALID, "the URL does not begin with http:// or https://");
    text = slice_split(&text, '#');
    if (text.len > URL_BYTES_MAX)
        return diag_set(d, ERR_INVALID, "the URL is longer than %u bytes", URL_BYTES_MAX);
    if (memchr(text.ptr, '\0', text.len))
        return diag_set(d, ERR_INVALID, "the URL holds a NUL");
    size_t at = u.tls ? 8 : 7, target = at;
    while (target < text.len && text.ptr[target] != '/' && text.ptr[target] != '?')
        target++;
    bool slash = target == text.len || text.ptr[target] == '?'; /* an empty path: the slash is put in */
    u.text = malloc(text.len + 2);
    if (!u.text)
        return ERR_NOMEM;
    memcpy(u.text, text.ptr, target);
    u.text[target] = '/';
    memcpy(u.text + target + slash, text.ptr + target, text.len - target);
    u.text[text.len + slash] = '\0';
    enum err e = split(&u, text.len + slash, at, target, d);
    if (e) {
        free(u.text);
        return e;
    }
    *out = u;
    return OK;
}

void http_url_fini(struct http_url *u)
{
    free(u->text);
    *u = (struct http_url){0};
}
