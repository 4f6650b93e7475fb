/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/*
 * Filters out of any text. Properties: no bad access, no leak (the sanitizers'); a refusal says something; what a
 * filter says agrees with what it does; and negated twice it does the same.
 */
#include <stdlib.h>

#include "ce_http.h"
#include "filter.h"
#include "resource.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check(struct filter *f, const struct ce_event *e)
{
    struct filter *once = NULL, *twice = NULL;
    struct buf words;
    const bool matches = filter_match(f, e);
    buf_init(&words, 16u << 20);
    filter_explain(f, e, &words);
    must(slice_has_prefix(buf_slice(&words), matches ? SLICE("yes ") : SLICE("no ")));
    buf_clear(&words);
    filter_reason(f, e, &words);
    must(buf_error(&words) == OK && (words.len == 0) == matches);
    must(!words.len || !memchr(words.ptr, '\n', words.len));
    buf_fini(&words);
    if (f && filter_join(FILTER_NOT, &f, 1, &once, NULL) == OK) {
        must(filter_match(once, e) == !matches);
        if (filter_join(FILTER_NOT, &once, 1, &twice, NULL) == OK)
            must(filter_match(twice, e) == matches);
    }
    filter_unref(once);
    filter_unref(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char json[] =
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"com.x\",\"subject\":\"a\","
        "\"hops\":5,\"flag\":true,\"datacontenttype\":\"text/plain; a=b\"}";
    static const struct ce_event *event;
    struct filter *f = NULL;
    struct problems p;
    if (!event)
        must(ce_json_decode(slice_str(json), &(struct ce_http_limits){10000, 1}, &event, NULL) == OK);
    problems_init(&p);
    enum err e = filter_parse(slice_of((const char *)data, size), &f, &p);
    must(e == OK ? p.errors == 0 : e == ERR_INVALID && p.errors > 0 && p.list[0].text[0] && !f);
    if (e == OK)
        check(f, event);
    filter_unref(f);
    problems_fini(&p);
    return 0;
}
