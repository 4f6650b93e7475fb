/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a Pub/Sub bus, its channels and subscriptions, and the names that follow from them. Pure.
 */
#ifndef LEAT_CHANNELS_PUBSUB_SETTINGS_H
#define LEAT_CHANNELS_PUBSUB_SETTINGS_H

#include "bus.h"
#include "pubsub.h"

#define PUB_ID_MAX 255 /* bytes of the id of a topic or subscription: Pub/Sub's */

/* clang-format off */
/* Of the bus; those of pubsub_client_knows (project, credentials.file, emulator ...) go there. All may be left out:
 *     prefix                  before every topic and subscription (shared projects, tests); default none
 *     mode                    binary (default), structured: how events are written
 *     buffer                  bytes that wait for the service's answer at most: 32 MiB
 *     ack.deadline            10s to 600s, default 20s: how long the service waits for a process that is gone until it
 *                             hands out anew what that one had
 *     retention               10m to 31d, default 7d: how long the service keeps what nobody acknowledged
 *     retention-age           10m to 31d, or 0; default 1d: how long topics that are made keep what has passed, for
 *                             replays
 * Of a channel:
 *     topic                   its id; default leat.NS.NAME, dead letters leat-dead-letter.CURSOR
 *     topic.external          true: it is somebody else's: it must be there, is never made or removed; by its full name
 *                             also one of another project
 *     mode, retention-age     as above; dead letters keep nothing
 *     partitions=1            as bus.h says
 * Of a subscription (one called replay/CURSOR is leat-replay.CURSOR):
 *     subscription            its id; default leat.NS.CHANNEL.CURSOR
 *     order                   key (default); none: its events come in any order, and none waits for another of its key.
 *                             Not where the channel has one partition. The service keeps it as it was made */
/* clang-format on */

struct pub_settings {
    char *prefix; /* owned, "" when none */
    enum ce_mode mode;
    uint64_t buffer; /* bytes */
    unsigned lease_s;
    uint64_t retention_s, past_s; /* past_s: of topics; 0: nothing */
};

struct pub_channel_settings {
    char *topic;                   /* owned, with the bus's prefix unless external */
    bool external, one_part, dead; /* dead: it is for dead letters */
    bool ordered;                  /* events have ordering keys: not those of dead letters, which come in no order */
    uint64_t past_s;               /* of what has passed; 0: nothing */
    enum ce_mode mode;
};

enum err pub_settings_read(const struct bus_param *params, size_t count, struct pub_settings *out,
                           struct diag *d) must_check;
void pub_settings_fini(struct pub_settings *s);
enum err pub_channel_settings_read(const struct pub_settings *bus, struct slice name, const struct bus_param *params,
                                   size_t count, struct pub_channel_settings *out, struct diag *d) must_check;
void pub_channel_settings_fini(struct pub_channel_settings *s);

struct pub_subscription_settings {
    char *id;     /* owned */
    bool ordered; /* the service hands out an event of a key when the one before it was acknowledged */
    bool passing; /* a replay's: always made anew, and it goes when nobody uses it */
};
/* `channel` is the channel's name, `of` what was read of it. */
enum err pub_subscription_settings_read(const struct pub_settings *bus, const char *channel,
                                        const struct pub_channel_settings *of, struct slice name,
                                        const struct bus_param *params, size_t count,
                                        struct pub_subscription_settings *out, struct diag *d) must_check;

#endif
