/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the GitHub source share: the parsed spec, and the pure step from a webhook to a CloudEvent.
 */
#ifndef LEAT_SOURCES_GITHUB_H
#define LEAT_SOURCES_GITHUB_H

#include "event.h"
#include "hmac.h"
#include "json.h"
#include "source.h"

#define GITHUB_API_URL                                                                                                 \
    "https://api.github.com" /* github.com's; an Enterprise Server has its own: https://HOST/api/v3 */

/* A spec, checked and taken apart. Everything points into the spec. */
struct github_options {
    const struct source_spec *spec;
    bool form_2018;
    struct slice owner, repository; /* repository empty: a whole organisation; owner empty too: whoever calls */
    struct slice secret;            /* empty only where allowUnsigned */
    struct slice token;             /* empty: the webhook is made by hand */
    struct slice api_url;
    struct slice events;      /* GitHub's names with commas; empty: all */
    const char *secure;       /* "true", "false" or NULL: the webhook URL's scheme as it is */
    uint64_t sink_timeout_ns; /* per attempt; 0: none but the deadline */
};
/* ERR_INVALID with *d naming the parameter. */
enum err github_options_parse(const struct source_spec *spec, struct github_options *out, struct diag *d) must_check;
#define GITHUB_EVENT_NAME_MAX 64 /* GitHub's longest has 37 letters */
/* Whether this can be an event's name: small letters, digits and underscores. */
bool github_is_event_name(struct slice name);
/* Takes the next name off a list of events, as GitHub calls it: white space, the prefix of an event type, and the
 * name of 2018 for pull_request are resolved. false at the end. */
bool github_events_next(struct slice *rest, struct slice *event);
/* Whether the source takes this event: all but ping without a list, else what the list names. */
bool github_events_has(struct slice events, struct slice event);

/* A webhook whose signature and JSON have been checked. */
struct github_webhook {
    struct slice event;    /* X-GitHub-Event */
    struct slice delivery; /* X-GitHub-Delivery */
    struct slice body;
    struct json_value payload; /* of body, out of json_check */
};
/* Makes the event. `wall_ns`: the time attribute. What the payload holds that no attribute can take is left out; only
 * id, type and source must be right. ERR_INVALID with *d, ERR_TOO_LARGE, ERR_NOMEM. Pure. */
enum err github_event_make(const struct github_options *options, const struct github_webhook *webhook, int64_t wall_ns,
                           size_t bytes_max, const struct ce_event **out, struct diag *d) must_check;

/* What a webhook's head claims. The slices are header values: valid until the request is closed. */
struct github_head {
    struct slice event, delivery;
    unsigned char signature[HMAC_SHA256_BYTES]; /* where the source has a secret */
};
enum github_verdict {
    GITHUB_HEAD_GOOD,
    GITHUB_HEAD_BAD,     /* answered: it breaks a rule */
    GITHUB_HEAD_UNSIGNED /* answered: the signature is missing or malformed */
};
enum github_verdict github_head_read(struct http_request *r, const struct github_options *options,
                                     size_t event_bytes_max, struct github_head *out);
/* Answers with a line for people and, unless `name` is NULL, one more header. */
void github_respond(struct http_request *r, int status, const char *name, const char *value, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The part on a data loop (github.c), the part on the control loop (github_api.c), and `leat source github`
 * (github_main.c). */
extern const struct source_ops github_source;
enum err github_register_start(const struct source_spec *spec, struct loop *control, struct http_client *client,
                               const char *webhook_url, const char *known_id, source_report_fn *report, void *arg,
                               struct source_registration **out) must_check;
void github_register_stop(struct source_registration *r, bool remove, void (*stopped)(void *arg), void *arg);
int github_main(int argc, char **argv);

#endif
