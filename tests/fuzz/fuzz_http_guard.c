/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/*
 * The guard over heads cut up as libmicrohttpd cuts them: lines end at LF with or without CR, a name at the first
 * colon, and every string at its first NUL. What the guard lets through must, written down again from its parts, be the
 * very bytes that were received; but for NULs beside a line's end, which cannot be told from CR and LF once these have
 * become NULs too.
 */
#include "../../base/http_guard.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MAX 64

/* Ends at LF, with the CR before it cut off; NULL without one. */
static char *cut_line(char **at, char *end)
{
    char *line = *at, *lf = memchr(line, '\n', (size_t)(end - line));
    if (!lf)
        return NULL;
    *at = lf + 1;
    *lf = 0;
    if (lf > line && lf[-1] == '\r')
        lf[-1] = 0;
    return line;
}

static bool cut_request_line(char *line, struct http_head *head)
{
    char *target = strchr(line, ' '), *version = target ? strrchr(target + 1, ' ') : NULL;
    if (!version)
        return false;
    *target++ = 0;
    while (*target == ' ')
        target++;
    *version++ = 0;
    head->method = slice_str(line);
    head->target = slice_str(target);
    head->target_at = target;
    head->version = slice_str(version);
    return true;
}

static bool cut(char *text, size_t size, struct http_head *head)
{
    char *at = text, *end = text + size, *line = cut_line(&at, end);
    if (!line || !cut_request_line(line, head))
        return false;
    while ((line = cut_line(&at, end)) && *line) {
        char *colon = strchr(line, ':');
        if (!colon || head->line_count == LINES_MAX)
            return false;
        *colon++ = 0;
        while (*colon == ' ' || *colon == '\t')
            colon++;
        head->lines[head->line_count++] = (struct http_header){slice_str(line), slice_str(colon)};
    }
    head->end = at;
    return line != NULL;
}

/* Passes over one character that must be there. */
static const uint8_t *pass(const uint8_t *at, char wanted)
{
    assert(*at == (uint8_t)wanted);
    return at + 1;
}

/* Two bytes, or the four that end the head. */
static const uint8_t *pass_line_end(const uint8_t *at, int bytes)
{
    while (bytes--)
        assert(*at == '\r' || *at == '\n' || *at == 0), at++;
    assert(at[-1] == '\n');
    return at;
}

static void check_whole(const uint8_t *data, const char *text, const struct http_head *head)
{
    const uint8_t *at = data;
    at = pass(at + head->method.len, ' ');
    at = pass(at + head->target.len, ' ');
    at = pass_line_end(at + head->version.len, head->line_count ? 2 : 4);
    for (size_t i = 0; i < head->line_count; i++) {
        assert((const char *)at - (const char *)data == head->lines[i].name.ptr - text);
        at = pass(at + head->lines[i].name.len, ':');
        while (*at == ' ' || *at == '\t')
            at++;
        at += head->lines[i].value.len;
        while (*at == ' ' || *at == '\t')
            at++;
        at = pass_line_end(at, i + 1 < head->line_count ? 2 : 4);
    }
    assert((const char *)at - (const char *)data == head->end - text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header lines[LINES_MAX];
    struct http_head head = {.lines = lines};
    struct http_plan plan;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = 0;
    if (cut(text, size, &head) && !http_guard(&head, &plan)) {
        check_whole(data, text, &head);
        struct slice value;
        bool length = http_header_find(lines, head.line_count, "content-length", &value);
        bool coding = http_header_find(lines, head.line_count, "transfer-encoding", &value);
        assert(!(length && coding) && plan.chunked == coding && (length || plan.content_length == 0));
        assert(plan.minor_0 || http_header_find(lines, head.line_count, "host", &value));
        assert(plan.path.len > 0);
    }
    free(text);
    return 0;
}
