/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source pubsub`: a topic of Google Pub/Sub alone.
 */
#include "pubsub_source.h"

#include "runner.h"

static const struct runner_option options[] = {
    {"topic", "TOPIC", false, "topic", "TOPIC_ID", "The topic: its id, or projects/PROJECT/topics/TOPIC."},
    {"project", "PROJECT", false, "project", "PROJECT_ID",
     "The project's id. Default: that of the topic's full name, GOOGLE_CLOUD_PROJECT, or the key's."},
    {"subscription", "NAME", false, "subscription", "SUBSCRIPTION_ID",
     "A subscription that is there already. Default: one of the source's own, which it makes."},
    {"credentials-file", "FILE", false, "credentials.file", NULL,
     "A service account's key. Default: GOOGLE_APPLICATION_CREDENTIALS, else the machine's metadata server."},
    {"emulator", "HOST:PORT", false, "emulator", NULL, "An emulator instead of Google. Default: PUBSUB_EMULATOR_HOST."},
    {"endpoint", "URL", false, "endpoint", NULL, "A region's endpoint. Default: https://pubsub.googleapis.com."},
    {"ack-deadline", "DURATION", false, "ackDeadline", NULL,
     "How soon Pub/Sub hands a message to somebody else when this process is gone: 10s to 10m. Default: 30s."},
    {"retention", "DURATION", false, "retentionDuration", NULL,
     "How long Pub/Sub keeps what nobody took: 10m to 744h. Default: Pub/Sub's 7 days."},
    {"form", "today|2018", false, "form", NULL, "What the events look like: CloudPubSubSource's, or those of 2018."},
    {NULL, NULL, false, NULL, NULL, NULL}};

static const struct runner_program program = {
    .ops = &pubsub_source_ops,
    .options = options,
    .summary =
        "Takes the messages of a topic of Google Pub/Sub and posts each as a CloudEvent to the sink. A message is "
        "acknowledged when the sink has accepted its event; until then it is tried again, for ever.",
    .examples = "  K_SINK=http://127.0.0.1:9000/ leat source pubsub --topic projects/my-project/topics/orders\n"
                "  PUBSUB_EMULATOR_HOST=127.0.0.1:8085 leat source pubsub --project test --topic orders --sink "
                "http://127.0.0.1:9000/\n",
};

int pubsub_main(int argc, char **argv)
{
    return runner_main(&program, argc, argv);
}
