/* SPDX-License-Identifier: Apache-2.0
 *
 * Events of all kinds from one seed: every kind of data, every type, both versions, all modes, few extensions or as
 * many as fit, transport headers. Include after cmocka.h. One thread.
 */
#ifndef LEAT_TESTS_RANDOM_EVENT_H
#define LEAT_TESTS_RANDOM_EVENT_H

#include <stdio.h>

#include "event.h"
#include "prng.h"

static const char *const texts[] = {
    "1",   "a b", "100%",   "\"quoted\"", "back\\slash", "caf\xC3\xA9", "\xE2\x82\xAC \xF0\x9F\x98\x80",
    "a:b", "",    "x=y; z",
};
static const char *const uris[] = {"/relative", "https://example.org/a?b=c", "urn:uuid:7f1d4a58", "//host/x", "a%20b"};
static const char *const media[] = {"application/json", "text/plain; charset=utf-8", "image/png", "a/b+json"};

static const char *one_of(struct prng *p, const char *const *list, size_t count)
{
    return list[prng_below(p, count)];
}
#define ONE_OF(p, list) one_of(p, list, sizeof(list) / sizeof((list)[0]))

static void random_extension(struct ce_builder *b, struct prng *p, char *name, size_t size)
{
    static const char *const values[][3] = {
        [CE_BOOLEAN] = {"true", "false", "true"},
        [CE_INTEGER] = {"0", "-2147483648", "42"},
        [CE_BINARY] = {"", "AAEC", "/+8="},
        [CE_URI] = {"https://example.org/", "urn:x", "mailto:a@b"},
        [CE_URI_REFERENCE] = {"", "/a/b", "c"},
        [CE_TIMESTAMP] = {"2026-11-23T23:25:19.123456Z", "1999-12-31T23:59:60Z", "2026-01-01T00:00:00+01:00"},
    };
    snprintf(name, size, "ext%u%s", (unsigned)prng_below(p, 1000000), prng_below(p, 20) ? "" : "averylongnameindeed");
    enum ce_type type = (enum ce_type)prng_below(p, CE_TIMESTAMP + 1);
    for (size_t i = 0; i < b->count; i++)
        if (slice_eq_str(b->attributes[i].name, name))
            return;
    ce_builder_set(b, slice_str(name), type,
                   slice_str(type == CE_STRING ? ONE_OF(p, texts) : values[type][prng_below(p, 3)]));
}

static void random_data(struct ce_builder *b, struct prng *p, char *room, size_t size)
{
    size_t len = prng_below(p, 4) ? (size_t)prng_below(p, 64) : (size_t)prng_below(p, size);
    switch (prng_below(p, 4)) {
    case 0:
        ce_builder_data(b, CE_DATA_NONE, slice_of(NULL, 0));
        break;
    case 1:
        for (size_t i = 0; i < len; i++)
            room[i] = (char)prng_next(p);
        ce_builder_data(b, CE_DATA_BYTES, slice_of(room, len));
        break;
    case 2:
        memset(room, 't', len);
        ce_builder_data(b, CE_DATA_TEXT, slice_of(room, len));
        break;
    default:
        memset(room, '7', len + 1);
        ce_builder_data(b, CE_DATA_JSON, slice_of(room, len + 1));
        break;
    }
}

static inline const struct ce_event *random_event(struct prng *p)
{
    static char names[CE_ATTRIBUTES_MAX][64], data[70000];
    struct ce_builder b;
    ce_builder_init(&b);
    if (prng_below(p, 2))
        ce_builder_set(&b, SLICE("subject"), CE_STRING, SLICE("before the required ones"));
    if (prng_below(p, 2))
        ce_builder_set(&b, SLICE("specversion"), CE_STRING, prng_below(p, 2) ? SLICE("1.0") : SLICE("0.3"));
    ce_builder_set(&b, SLICE("type"), CE_STRING, slice_str(texts[prng_below(p, 8)]));
    ce_builder_set(&b, SLICE("source"), CE_URI_REFERENCE, slice_str(ONE_OF(p, uris)));
    ce_builder_set(&b, SLICE("id"), CE_STRING, slice_str(texts[prng_below(p, 8)]));
    if (prng_below(p, 2))
        ce_builder_set(&b, SLICE("datacontenttype"), CE_STRING, slice_str(ONE_OF(p, media)));
    if (prng_below(p, 2))
        ce_builder_set(&b, SLICE("time"), CE_TIMESTAMP, SLICE("2026-11-23T23:25:19Z"));
    size_t extensions = prng_below(p, 30) ? (size_t)prng_below(p, 8) : 240;
    for (size_t i = 0; i < extensions; i++)
        random_extension(&b, p, names[i], sizeof names[i]);
    for (uint64_t i = prng_below(p, 3) ? 0 : prng_below(p, 17); i; i--)
        ce_builder_header(&b, SLICE("traceparent"), slice_str(ONE_OF(p, texts)));
    ce_builder_mode(&b, (enum ce_mode)prng_below(p, 3));
    random_data(&b, p, data, sizeof data - 1);
    const struct ce_event *e = NULL;
    struct diag d;
    if (ce_builder_seal(&b, CE_EVENT_BYTES_MAX, &e, &d))
        fail_msg("%s", d.text);
    return e;
}

/* Same transport headers in the same order, which ce_event_equal does not look at. */
static inline void same_headers(const struct ce_event *a, const struct ce_event *b)
{
    assert_int_equal(ce_event_header_count(a), ce_event_header_count(b));
    for (size_t i = 0; i < ce_event_header_count(a); i++) {
        struct slice name, value, name_b, value_b;
        ce_event_header_at(a, i, &name, &value);
        ce_event_header_at(b, i, &name_b, &value_b);
        assert_true(slice_eq(name, name_b) && slice_eq(value, value_b));
    }
}

#endif
