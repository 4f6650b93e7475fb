/* SPDX-License-Identifier: Apache-2.0 */
/* room: broker */
/* A selector of labels or fields, held against an object. Properties: no bad access; what is refused says where; a
 * selector and its object always give the same answer. */
#include <stdlib.h>

#include "../../broker/api/kubernetes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look(enum err e, struct api_selector *s, const struct diag *d)
{
    static const char text[] = "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\",\"c\":\"\",\"x.y/z\":\"1\"}}}";
    must(e == OK || (e == ERR_INVALID && d->text[0] && !s));
    if (e != OK)
        return;
    cJSON *object = cJSON_Parse(text), *bare = cJSON_CreateObject();
    must(api_selector_matches(s, object) == api_selector_matches(s, object));
    must(s || api_selector_matches(s, bare));
    api_selector_matches(s, bare);
    cJSON_Delete(object);
    cJSON_Delete(bare);
    api_selector_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kind event = {.group = "", .kind = "Event"}, channel = {.group = "x", .kind = "Channel"};
    struct slice text = slice_of((const char *)data, size);
    struct diag d = {0};
    struct api_selector *s = NULL;
    look(api_selector_labels(text, &s, &d), s, &d);
    s = NULL;
    look(api_selector_fields(text, size % 2 ? &event : &channel, &s, &d), s, &d);
    return 0;
}
