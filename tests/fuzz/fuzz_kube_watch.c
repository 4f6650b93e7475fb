/* SPDX-License-Identifier: Apache-2.0 */
/* room: clients */
/* What an API server says: the first byte is how long the pieces are in which the rest comes, as the lines of a watch;
 * and the rest as a list's page. Properties: no bad access, a refusal says something, the lines are the same however
 * the bytes are cut, and what is taken of an object is text of bounded length. */
#include <stdlib.h>
#include <string.h>

#include "kube.h"

#define LIMIT 512 /* of a line: long ones are passed over */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look_at_meta(const struct kube_meta *m)
{
    must(memchr(m->name, 0, sizeof m->name) && memchr(m->uid, 0, sizeof m->uid) && memchr(m->kind, 0, sizeof m->kind));
    must(!strpbrk(m->name, "\r\n") && m->version <= INT64_MAX);
}

static void look_at_line(struct slice line)
{
    struct kube_change c;
    struct diag d = {0};
    enum err e = kube_change_read(line, &c, &d);
    must(e == OK || (e == ERR_INVALID && d.text[0]));
    if (e == OK && c.what != KUBE_FAILED)
        look_at_meta(&c.meta);
    if (e == OK)
        must(c.object.ptr >= line.ptr && c.object.ptr + c.object.len <= line.ptr + line.len);
}

/* The lines that come of pieces of this length: how many, how many too long, and a sum over their bytes. */
struct seen {
    size_t lines, long_ones;
    uint64_t sum;
};
static struct seen lines_of(struct slice text, size_t piece_len, bool look)
{
    struct seen s = {0};
    struct kube_lines l;
    struct slice line;
    kube_lines_init(&l, LIMIT);
    while (text.len) {
        struct slice piece = slice_of(text.ptr, text.len < piece_len ? text.len : piece_len);
        text = slice_from(text, piece.len);
        for (enum err e; (e = kube_lines_next(&l, &piece, &line)) != ERR_PENDING;) {
            must(e == OK || (e == ERR_TOO_LARGE && l.skipped > LIMIT));
            s.lines += e == OK;
            s.long_ones += e != OK;
            for (size_t i = 0; e == OK && i < line.len; i++)
                s.sum = s.sum * 31 + (unsigned char)line.ptr[i];
            if (e == OK && look)
                look_at_line(line);
        }
        must(piece.len == 0);
    }
    kube_lines_fini(&l);
    return s;
}

static void look_at_page(struct slice text)
{
    struct kube_page page;
    struct kube_meta m;
    struct json_walk w;
    struct diag d = {0};
    enum err e = kube_page_read(text, &page, &d);
    must(e == OK || (e == ERR_INVALID && d.text[0]));
    if (e != OK)
        return;
    json_walk_begin(&w, page.items);
    while (json_walk_next(&w)) {
        e = kube_meta_read(w.value, "v1", "ConfigMap", &m, &d);
        must(e == OK || e == ERR_INVALID);
        if (e == OK)
            look_at_meta(&m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice text = slice_of((const char *)data + 1, size - 1);
    struct seen a = lines_of(text, data[0] ? data[0] : 1, true), b = lines_of(text, size, false);
    must(a.lines == b.lines && a.long_ones == b.long_ones && a.sum == b.sum);
    look_at_page(text);
    return 0;
}
