/* SPDX-License-Identifier: Apache-2.0
 *
 * K's work on topics, in two files: kafka_topics.c removes, makes and describes them, kafka_look.c looks at them.
 */
#ifndef LEAT_CHANNELS_KAFKA_TOPICS_H
#define LEAT_CHANNELS_KAFKA_TOPICS_H

#include "kafka_channel.h"

/* One topic of a question, walked over all of them. */
struct kafka_each {
    struct kafka_question *q;
    struct kafka_answer *answer;
    size_t index; /* of the channel's topics */
    const char *topic;
};

#define each_topic(e, ask)                                                                                             \
    for (struct kafka_each e, *once_##e = &e; once_##e; once_##e = NULL)                                               \
        for (size_t i_ = 0, t_ = 0; kafka_topic_next((ask), &i_, &t_, &e);)

/* kafka_topics.c */
bool kafka_topic_next(struct kafka_ask *ask, size_t *i, size_t *t, struct kafka_each *out); /* each_topic's */
void kafka_topic_say(struct kafka_answer *a, rd_kafka_resp_err_t err, const char *topic, const char *text);

/* kafka_look.c */
bool kafka_topic_is_there(const struct kafka_each *e);
void kafka_look(struct kafka_ask *ask, rd_kafka_t *rk, bool (*wanted)(const struct kafka_each *e));
void kafka_look_one(struct kafka_ask *ask, rd_kafka_t *rk, const struct kafka_each *e);
/* What was made is not seen at once by every broker; and a handle that knew a topic before it was deleted believes that
 * there is none, until it sees it. */
void kafka_look_for_made(struct kafka_ask *ask, rd_kafka_t *rk);
/* Whether the cluster has somebody for admin requests; the library would wait for one. */
bool kafka_look_for_controller(struct kafka_ask *ask, rd_kafka_t *rk);
void kafka_look_at_offsets(struct kafka_ask *ask, rd_kafka_t *rk); /* of topics that had been there */

#endif
