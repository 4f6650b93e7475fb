/* SPDX-License-Identifier: Apache-2.0
 *
 * What reading records shares: one look over a record's headers, what leat_mode says, and what a channel's rules add to
 * every event.
 *
 * leat_mode is a header of our own beside a CloudEvent. A record cannot say all that an event is: binary mode has no
 * types of extensions and no kinds of data, and whoever subscribes is to get the event in the mode in which it came. So
 * what the record would say wrongly by itself stands here:
 *
 *     leat_mode = mode *( ";" name "=" value )         structured;data=json;types=seq:integer,last:boolean
 *     mode      = "binary" / "structured" / "batch"    as the event came
 *     data      = "bytes" / "text" / "json"            the kind of its data
 *     type      = "none"                               it has no datacontenttype: the header content-type was added
 *     types     = NAME ":" TYPE *( "," NAME ":" TYPE ) of extensions
 *
 * It is a hint, for anybody may write such a header, or copy it onto another record: what does not fit is passed over,
 * and no event is refused for it.
 */
#ifndef LEAT_KAFKA_PRIVATE_H
#define LEAT_KAFKA_PRIVATE_H

#include "ce_kafka.h"
#include "event_private.h"

#define CE_KAFKA_MODE_HEADER SLICE("leat_mode")

/* The words of leat_mode, by enum ce_mode, enum ce_data_kind and enum ce_type. */
extern const struct slice ce_kafka_mode_words[CE_MODE_BATCH + 1];
extern const struct slice ce_kafka_data_words[CE_DATA_JSON + 1];
extern const struct slice ce_kafka_type_words[CE_TIMESTAMP + 1];

/* The headers that say what a record is. Kafka lets a header occur twice; the last one counts, as in Kafka's own
 * clients (Headers.lastHeader) and the CloudEvents SDKs. */
struct kafka_survey {
    const struct ce_kafka_header *content_type; /* NULL: none */
    struct slice hint;                          /* leat_mode; ptr NULL: none */
    bool has_version;                           /* a header ce_specversion */
    bool complete;                              /* ce_ headers of all four required attributes */
    size_t names_len;                           /* of all headers */
    struct http_header forwarded[16];           /* as many as an event carries along */
    size_t forwarded_count;
};
void ce_kafka_survey(const struct ce_kafka_record *r, struct kafka_survey *s);

/* Gives the builder what the rules add to every event: where it stood, then the overrides. What cannot be an extension
 * is left out. `digits` holds two numbers until the seal. */
struct kafka_digits {
    char partition[24], offset[24];
};
void ce_kafka_add_rules(struct ce_builder *b, const struct ce_kafka_record *r, const struct ce_kafka_rules *rules,
                        struct kafka_digits *digits);
/* Sets or replaces an extension if it can be one; the name is well formed. */
void ce_kafka_add_extension(struct ce_builder *b, struct slice name, enum ce_type type, struct slice value);

#endif
