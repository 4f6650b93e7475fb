/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/*
 * The guard over any bytes, once whole and once in two pieces cut where the first byte says: the result is the same.
 * What it lets through must, written down again from its parts, be the very bytes that were received, but for the white
 * space around values.
 */
#include "../../base/http_guard.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINES_MAX 64

/* Passes over a text that must be there. */
static const char *pass(const char *at, struct slice text)
{
    assert(text.len == 0 || memcmp(at, text.ptr, text.len) == 0);
    return at + text.len;
}

static const char *pass_space(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

static void check_whole(const char *text, const struct http_guard *g)
{
    const struct http_plan *plan = &g->plan;
    const char *at = text;
    while (*at == '\r')
        at = pass(at, SLICE("\r\n"));
    at = pass(pass(at, plan->method), SLICE(" "));
    at = pass(pass(at, plan->target), SLICE(" "));
    at = pass(at, plan->minor_0 ? SLICE("HTTP/1.0\r\n") : SLICE("HTTP/1.1\r\n"));
    for (size_t i = 0; i < g->line_count; i++) {
        at = pass_space(pass(pass(at, g->lines[i].name), SLICE(":")));
        at = pass(pass_space(pass(at, g->lines[i].value)), SLICE("\r\n"));
        for (size_t k = 0; k < g->lines[i].value.len; k++)
            assert((unsigned char)g->lines[i].value.ptr[k] >= ' ' || g->lines[i].value.ptr[k] == '\t');
    }
    at = pass(at, SLICE("\r\n"));
    assert((size_t)(at - text) == g->at);
}

static void check_plan(const struct http_guard *g)
{
    struct slice value;
    bool length = http_header_find(g->lines, g->line_count, "content-length", &value);
    bool coding = http_header_find(g->lines, g->line_count, "transfer-encoding", &value);
    assert(!(length && coding) && g->plan.chunked == coding && (length || g->plan.content_length == 0));
    assert(g->plan.minor_0 || http_header_find(g->lines, g->line_count, "host", &value));
    assert(g->plan.path.len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_header lines[2][LINES_MAX];
    struct http_guard whole, pieces;
    if (size < 1)
        return 0;
    size_t first = data[0] * (size - 1) / 255;
    /* Of exactly this size, so that a sanitizer sees each byte read beyond. */
    char *text = malloc(size);
    if (!text)
        return 0;
    memcpy(text, data + 1, --size);
    http_guard_init(&whole, lines[0], LINES_MAX);
    http_guard_init(&pieces, lines[1], LINES_MAX);
    enum err e = http_guard_run(&whole, text, size), p = http_guard_run(&pieces, text, first);
    if (p == ERR_PENDING)
        p = http_guard_run(&pieces, text, size);
    assert(e == p && whole.line_count == pieces.line_count && whole.wrong == pieces.wrong && whole.at == pieces.at);
    if (e == OK) {
        check_whole(text, &whole);
        check_plan(&whole);
    }
    free(text);
    return 0;
}
