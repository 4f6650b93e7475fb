/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* A file of tokens, and what a request's path means. Properties: no bad access; what is refused says which line; what
 * was read is written so that it reads the same; a request is a resource or a path, never both. */
#include <stdlib.h>

#include "../../broker/api/roles.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look_at_file(struct slice text)
{
    struct tokens t = {0}, again = {0};
    struct diag d = {0};
    struct buf lines;
    enum err e = tokens_parse(text, &t, &d);
    must(e == OK || (e == ERR_INVALID && d.line > 0 && d.text[0] && !t.list));
    buf_init(&lines, TOKENS_BYTES_MAX);
    for (size_t i = 0; i < t.count; i++)
        token_line_put(&t.list[i], &lines);
    must(tokens_parse(buf_slice(&lines), &again, &d) == OK && again.count == t.count);
    for (size_t i = 0; i < t.count; i++)
        must(again.list[i].role == t.list[i].role && memcmp(again.list[i].hash, t.list[i].hash, TOKEN_HASH_BYTES) == 0);
    must(!tokens_find(&t, SLICE("leat_")));
    buf_fini(&lines);
    tokens_fini(&again);
    tokens_fini(&t);
}

static void look_at_path(struct slice text)
{
    struct slice query = text, method = slice_split(&query, ' '), path = slice_split(&query, '?');
    struct access_request r;
    access_request_read(method, path, query, &r);
    must(r.verb[0] && (r.path.ptr != NULL || path.len == 0) != (r.resource[0] != 0));
    for (int role = 0; role < ROLE_COUNT; role++)
        must(!access_allows((enum role)role, "a", &r) || access_allows((enum role)role, "", &r));
    must(!access_allows(ROLE_VIEW, "", &r) || access_allows(ROLE_EDIT, "", &r));
    must(!access_allows(ROLE_EDIT, "", &r) || access_allows(ROLE_ADMIN, "", &r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    look_at_file(text);
    look_at_path(text);
    return 0;
}
