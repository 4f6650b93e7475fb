/* SPDX-License-Identifier: Apache-2.0
 *
 * What reading records shares: one look over a record's headers, and what a channel's rules add to every event.
 */
#ifndef LEAT_KAFKA_PRIVATE_H
#define LEAT_KAFKA_PRIVATE_H

#include "ce_kafka.h"
#include "hint.h"

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

#endif
