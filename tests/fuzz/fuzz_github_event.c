/* SPDX-License-Identifier: Apache-2.0 */
/* room: sources */
/* A webhook: the event's name, a line break, the payload. Every payload that is a JSON object makes an event,
 * whatever stands in it; its data is the payload, and what it got as attributes keeps the rules. */
#include <stdlib.h>

#include "../../sources/github.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct source_param params[] = {{"allowUnsigned", "true"}, {"form", "2018"}};

static void make(const struct source_spec *spec, const struct github_webhook *w)
{
    struct github_options options;
    must(github_options_parse(spec, &options, NULL) == OK);
    const struct ce_event *e = NULL;
    struct diag d = {0};
    must(github_event_make(&options, w, 0, 1u << 20, &e, &d) == OK);
    must(slice_eq(ce_event_data(e), w->body));
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        must(a.value.len > 0 && ce_name_check(a.name, NULL) == OK && ce_value_check(a.type, a.value, NULL) == OK);
    }
    ce_event_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of((const char *)data, size);
    struct github_webhook w = {.delivery = SLICE_INIT("d")};
    w.event = slice_split(&body, '\n');
    w.body = body;
    if (size > 65536 || !github_is_event_name(w.event) || json_check(body, 128, &w.payload, NULL) != OK ||
        w.payload.type != JSON_OBJECT)
        return 0;
    struct source_spec spec = {
        .type = "github", .namespace_name = "n", .name = "t", .params = params, .param_count = 1};
    make(&spec, &w);
    spec.param_count = 2;
    make(&spec, &w);
    return 0;
}
