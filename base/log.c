/* SPDX-License-Identifier: Apache-2.0
 *
 * Log lines.
 *
 *     2018-07-31T12:00:00.000Z warn sink.fail reason="no route" status=503
 *     {"time":"2018-07-31T12:00:00.000Z","level":"warn","event":"sink.fail","reason":"no route","status":503}
 *
 * The pairs are formatted first and read again: a value that starts with a quote is a JSON string (log_value makes such
 * ones) and is copied as it is; any other value ends where the next " name=" starts, and is quoted when it needs to be.
 * So a line is one line, and a JSON line is JSON, whatever the caller formatted. A bare number becomes a JSON number;
 * log_value quotes text that looks like one, so that a field has the same type in every line.
 *
 * Nothing is allocated. Settings are written before threads start; a lock keeps the lines of threads apart.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "slice.h"
#include "text.h"

#define LINE_MAX_BYTES 8192 /* a line is cut there, at the end of a pair or a character */
#define TAIL_BYTES 8        /* kept for what closes a cut line: quote, brace, newline */
#define VALUE_MAX_BYTES 400
#define VALUE_RING 8
#define STUCK_MS                                                                                                       \
    100 /* a full pipe is waited for that long, then the line is dropped: a log reader never stops the program */

static const struct clock *time_source;
static enum log_level level_least = LOG_INFO;
static bool as_json, with_colour;
static int to_fd = STDERR_FILENO;
static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;

struct line {
    size_t len, cap; /* cap: where ordinary text ends */
    bool cut;        /* something did not fit; everything after it is left out */
    char text[LINE_MAX_BYTES];
};

void log_setup(const struct clock *clock, enum log_level least, bool json, bool colour)
{
    time_source = clock;
    level_least = least;
    as_json = json;
    with_colour = colour && !json;
}

void log_set_fd(int fd)
{
    to_fd = fd;
}

/* Appends all of s or nothing. */
static void put(struct line *l, struct slice s)
{
    if (l->cut || s.len > l->cap - l->len) {
        l->cut = true;
        return;
    }
    if (s.len)
        memcpy(l->text + l->len, s.ptr, s.len);
    l->len += s.len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, slice_str(s));
}

/* The next character of s (not empty) as it may stand in a JSON string: *width of its bytes are consumed, `out` holds
 * it. Controls, also those of Latin-1 that steer terminals, are escaped; bytes that are no UTF-8 become U+FFFD. */
static struct slice escape(struct slice s, char out[8], size_t *width)
{
    unsigned char c = (unsigned char)s.ptr[0];
    uint32_t code = c;
    *width = 1;
    if (c >= 0x80 && !(*width = utf8_decode(s, &code))) {
        *width = 1;
        code = 0xfffd;
    }
    static const char from[] = "\"\\\n\r\t", to[] = "\"\\nrt";
    const char *two = code && code < 0x80 ? strchr(from, (int)code) : NULL;
    if (two)
        return slice_of(out, (size_t)snprintf(out, 8, "\\%c", to[two - from]));
    if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 || code == 0xfffd)
        return slice_of(out, (size_t)snprintf(out, 8, "\\u%04x", (unsigned)code));
    return slice_of(s.ptr, *width);
}

static void put_quoted(struct line *l, struct slice s)
{
    put_str(l, "\"");
    while (s.len) {
        char out[8];
        size_t width;
        put(l, escape(s, out, &width));
        s = slice_from(s, width);
    }
    /* The closing quote has its place in the tail, so that a cut value is still a string. */
    l->text[l->len++] = '"';
    l->cut |= l->len > l->cap;
}

static size_t digits(struct slice s, size_t at)
{
    size_t n = 0;
    while (at + n < s.len && s.ptr[at + n] >= '0' && s.ptr[at + n] <= '9')
        n++;
    return n;
}

/* Exactly a number of JSON's grammar, so that it may stand there without quotes. */
static bool is_number(struct slice s)
{
    size_t at = s.len && s.ptr[0] == '-', n = digits(s, at);
    if (n == 0 || (n > 1 && s.ptr[at] == '0'))
        return false;
    at += n;
    if (at < s.len && s.ptr[at] == '.') {
        n = digits(s, ++at);
        if (!n)
            return false;
        at += n;
    }
    if (at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
        at++;
        at += at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-');
        n = digits(s, at);
        if (!n)
            return false;
        at += n;
    }
    return at == s.len;
}

/* Whether a text line can hold the value without quotes and be read again. */
static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return s.len > 0;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
}

/* The length of a pair's name at the start of s, 0 when "name=" does not stand there. */
static size_t name_length(struct slice s)
{
    size_t n = 0;
    while (n < s.len && name_char(s.ptr[n]))
        n++;
    return n < s.len && s.ptr[n] == '=' ? n : 0;
}

/* The length of the JSON string at the start of s when it is a pair's whole value; 0 otherwise. */
static size_t string_length(struct slice s)
{
    if (!s.len || s.ptr[0] != '"')
        return 0;
    for (size_t i = 1; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c < 0x20)
            return 0;
        if (c == '\\') {
            i++;
        } else if (c == '"') {
            struct slice string = slice_of(s.ptr, i + 1);
            bool alone = i + 1 == s.len || (s.ptr[i + 1] == ' ' && name_length(slice_from(s, i + 2)));
            struct json_value v;
            return alone && json_check(string, 0, &v, NULL) == OK ? string.len : 0;
        }
    }
    return 0;
}

/* The length of a value that is not quoted: up to the next " name=" or the end. */
static size_t bare_length(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] == ' ' && name_length(slice_from(s, i + 1)))
            return i;
    return s.len;
}

static void put_pair(struct line *l, struct slice name, struct slice value, bool is_string)
{
    size_t before = l->len;
    bool bare = is_string || (as_json ? is_number(value) : is_plain(value));
    put_str(l, as_json ? ",\"" : " ");
    put(l, name);
    put_str(l, as_json ? "\":" : "=");
    if (!l->cut && !bare) {
        put_quoted(l, value); /* cut or not, it is closed */
        return;
    }
    put(l, value);
    if (l->cut)
        l->len = before;
}

/* Reads the formatted pairs and appends each; text before the first name gets the name "text". */
static void put_pairs(struct line *l, struct slice s)
{
    while (s.len && !l->cut) {
        size_t n = name_length(s);
        struct slice name = n ? slice_of(s.ptr, n) : SLICE("text");
        if (n)
            s = slice_from(s, n + 1);
        size_t string = string_length(s), len = string ? string : bare_length(s);
        put_pair(l, name, slice_of(s.ptr, len), string != 0);
        s = slice_from(s, len);
        if (s.len)
            s = slice_from(s, 1);
    }
}

static void put_time(struct line *l)
{
    int64_t ns = clock_wall_ns(time_source ? time_source : clock_system());
    int64_t s = ns / (int64_t)NS_PER_S, rest = ns % (int64_t)NS_PER_S;
    if (rest < 0) {
        rest += (int64_t)NS_PER_S;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    char text[80];
    if (!gmtime_r(&t, &tm))
        memset(&tm, 0, sizeof(tm));
    snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
             tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(rest / (int64_t)NS_PER_MS));
    put_str(l, text);
}

static void put_head(struct line *l, enum log_level level, const char *what)
{
    static const char *const name[] = {"debug", "info", "warn", "error"};
    static const char *const colour[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    put_str(l, as_json ? "{\"time\":\"" : "");
    put_time(l);
    put_str(l, as_json ? "\",\"level\":\"" : " ");
    put_str(l, with_colour ? colour[level] : "");
    put_str(l, name[level]);
    put_str(l, with_colour ? "\033[0m" : "");
    put_str(l, as_json ? "\",\"event\":\"" : " ");
    put_str(l, what);
    put_str(l, as_json ? "\"" : "");
}

/* Writes the line whole, or drops what is left of it where nobody reads. */
static void write_line(const struct line *l)
{
    struct slice s = slice_of(l->text, l->len);
    pthread_mutex_lock(&write_lock);
    while (s.len) {
        ssize_t n = write(to_fd, s.ptr, s.len);
        if (n >= 0) {
            s = slice_from(s, (size_t)n);
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = to_fd, .events = POLLOUT};
            if (poll(&p, 1, STUCK_MS) <= 0)
                break;
        } else if (errno != EINTR) {
            break;
        }
    }
    pthread_mutex_unlock(&write_lock);
}

void log_line(enum log_level level, const char *what, const char *format, ...)
{
    assert(level >= LOG_DEBUG && level <= LOG_ERROR);
    if (level < level_least)
        return;
    int saved_errno = errno; /* logging is no reason to lose the cause */
    char pairs[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(pairs, sizeof(pairs), format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(pairs) ? (size_t)n : sizeof(pairs) - 1;

    struct line l;
    l.len = 0;
    l.cap = sizeof(l.text) - TAIL_BYTES;
    l.cut = false;
    put_head(&l, level, what);
    put_pairs(&l, slice_of(pairs, len));
    if (as_json)
        l.text[l.len++] = '}';
    l.text[l.len++] = '\n';
    assert(l.len <= sizeof(l.text));
    write_line(&l);
    errno = saved_errno;
}

const char *log_value(const char *text)
{
    /* Worst case: every byte becomes six. */
    static __thread char ring[VALUE_RING][VALUE_MAX_BYTES * 6 + 8];
    static __thread unsigned turn;
    char *out = ring[turn++ % VALUE_RING];
    struct slice s = slice_str(text);
    bool cut = s.len > VALUE_MAX_BYTES;
    if (cut) {
        s.len = VALUE_MAX_BYTES;
        while (s.len > VALUE_MAX_BYTES - 3 && ((unsigned char)text[s.len] & 0xc0) == 0x80)
            s.len--;
    }
    char *to = out;
    if (!cut && is_plain(s) && !is_number(s)) {
        memcpy(to, s.ptr, s.len);
        to[s.len] = '\0';
        return out;
    }
    *to++ = '"';
    while (s.len) {
        char escaped[8];
        size_t width;
        struct slice c = escape(s, escaped, &width);
        memcpy(to, c.ptr, c.len);
        to += c.len;
        s = slice_from(s, width);
    }
    memcpy(to, cut ? "…\"" : "\"", cut ? sizeof("…\"") : sizeof("\""));
    return out;
}
