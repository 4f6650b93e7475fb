/* SPDX-License-Identifier: Apache-2.0 */
/* room: events */
/*
 * CESQL of any bytes, evaluated on an event that has attributes of each type. Properties: no bad access (the
 * sanitizers'); what does not compile has a reason and a place within the expression; the predicate and the evaluation
 * agree; texts that come out are UTF-8; and an exact value that is said to be demanded is demanded.
 */
#include <stdlib.h>

#include "../../events/cesql_private.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct ce_event *make_event(const char *type)
{
    struct ce_builder b;
    const struct ce_event *e;
    ce_builder_init(&b);
    ce_builder_set(&b, SLICE("id"), CE_STRING, SLICE("1"));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, SLICE("/s"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, slice_str(type));
    ce_builder_set(&b, SLICE("subject"), CE_STRING,
                   SLICE(" Gr\xC3\xBC\xC3\x9F"
                         "e \xE2\x82\xAC "));
    ce_builder_set(&b, SLICE("n"), CE_INTEGER, SLICE("-2147483648"));
    ce_builder_set(&b, SLICE("d"), CE_STRING, SLICE("12"));
    ce_builder_set(&b, SLICE("f"), CE_BOOLEAN, SLICE("true"));
    must(ce_builder_seal(&b, 10000, &e, NULL) == OK);
    return e;
}

static void check_value(const struct cesql *q, const struct ce_event *e)
{
    struct cesql_value v;
    struct diag d = {0};
    struct buf memory;
    int rank;
    struct slice name, value;
    struct ce_attribute a;
    buf_init(&memory, CESQL_BYTES_MAX);
    enum cesql_error error = cesql_evaluate(q, e, &memory, &v, &d);
    must(error != CESQL_PARSE && (error == CESQL_OK || (d.text[0] && d.line >= 1 && d.column >= 1)));
    bool holds = !error && v.type == CESQL_BOOLEAN && v.boolean;
    must(cesql_test(q, e) == holds);
    must(v.type != CESQL_STRING || utf8_valid(v.string));
    if (holds && cesql_required_exact(q, &rank, &name, &value))
        must(ce_event_attribute(e, name, &a) && slice_eq(a.value, value));
    buf_fini(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ce_event *events[2];
    struct slice text = slice_of((const char *)data, size);
    struct cesql *q = NULL;
    struct diag d = {0};
    if (!events[0]) {
        events[0] = make_event("t");
        events[1] = make_event("com.example.order");
    }
    enum err e = cesql_compile(text, &q, &d);
    if (e) {
        must(e == ERR_INVALID && !q && d.text[0] && d.line >= 1 && d.column >= 1 && (size_t)d.column <= size + 1);
        return 0;
    }
    must(size <= CESQL_TEXT_MAX && utf8_valid(text));
    check_value(q, events[0]);
    check_value(q, events[1]);
    cesql_free(q);
    return 0;
}
