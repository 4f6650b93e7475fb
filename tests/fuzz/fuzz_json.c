/* SPDX-License-Identifier: Apache-2.0 */
/* room: base */
/* The JSON scanner: whatever it accepts can be walked, unescaped and found in, and each value in it is accepted alone.
 * */
#include <stdlib.h>

#include "json.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void unescape(struct slice string)
{
    struct buf b;
    buf_init(&b, string.len);
    json_unescape(string, &b);
    must(buf_error(&b) == OK && utf8_valid(buf_slice(&b)) && json_string_is(string, buf_slice(&b)));
    buf_fini(&b);
}

static void walk(struct json_value v)
{
    struct json_walk w;
    struct json_value again;
    int32_t number;
    const char *const path[] = {"a", "b", NULL};
    (void)json_find(v, path, &again);
    if (v.type == JSON_STRING)
        unescape(v.raw);
    if (v.type == JSON_NUMBER)
        (void)json_int32(v.raw, &number);
    if (v.type != JSON_OBJECT && v.type != JSON_ARRAY)
        return;
    for (json_walk_begin(&w, v); json_walk_next(&w);) {
        if (v.type == JSON_OBJECT)
            unescape(w.name);
        must(json_check(w.value.raw, 64, &again, NULL) == OK);
        must(again.type == w.value.type && slice_eq(again.raw, w.value.raw));
        if (w.value.type == JSON_STRING)
            unescape(w.value.raw);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_value v;
    struct diag d;
    struct slice text = slice_of((const char *)data, size);
    if (json_check(text, 64, &v, &d) == OK) {
        must(utf8_valid(text));
        walk(v);
    } else {
        must(d.line >= 1 && d.column >= 1 && d.text[0]);
    }
    return 0;
}
