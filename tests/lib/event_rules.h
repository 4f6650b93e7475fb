/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold of every event that a decoder gives, for tests of codecs.
 */
#ifndef LEAT_TESTS_EVENT_RULES_H
#define LEAT_TESTS_EVENT_RULES_H

#include "event.h"

/* Whether it has what every event has, and each attribute keeps the rules of its type. */
static inline bool obeys_the_rules(const struct ce_event *e)
{
    bool all = ce_event_id(e).len && ce_event_source(e).len && ce_event_type(e).len;
    all = all && ce_event_attribute_count(e) <= CE_ATTRIBUTES_MAX;
    for (size_t i = 0; i < ce_event_attribute_count(e) && all; i++) {
        struct ce_attribute a = ce_event_attribute_at(e, i);
        all = ce_name_check(a.name, NULL) == OK && ce_value_check(a.type, a.value, NULL) == OK;
    }
    return all;
}

/* An envelope keeps no white space around JSON, and 0.3's datacontentencoding is told by the data there. */
static inline bool envelope_keeps(const struct ce_event *e)
{
    struct slice data = ce_event_data(e);
    bool bare = !data.len || !strchr(" \t\r\n", data.ptr[0]);
    bare = bare && (!data.len || !strchr(" \t\r\n", data.ptr[data.len - 1]));
    return bare && !ce_event_attribute(e, SLICE("datacontentencoding"), NULL);
}

#endif
