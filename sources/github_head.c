/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of a webhook: what it alone can show to be wrong is answered here, before a byte of the body is read,
 * with what to do about it.
 *
 *     405  not a POST                             401  no X-Hub-Signature-256, or SHA-1's X-Hub-Signature alone
 *     400  X-GitHub-Event or -Delivery missing    400  a signature that is no sha256= and 64 digits
 *     415  not application/json                   413  longer than the source takes
 */
#include "github.h"

#include <stdarg.h>
#include <stdio.h>

#include "text.h"

void github_respond(struct http_request *r, int status, const char *name, const char *value, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text) - 1, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) - 1 ? (size_t)n : sizeof(text) - 2;
    text[len++] = '\n';
    struct http_header headers[2] = {{SLICE("Content-Type"), SLICE("text/plain; charset=utf-8")},
                                     {slice_str(name), slice_str(value)}};
    http_respond(r, status, headers, name ? 2 : 1, slice_of(text, len));
}

static enum github_verdict check_content_type(struct http_request *r)
{
    struct slice type = SLICE("");
    http_request_header(r, "Content-Type", &type);
    struct slice media = slice_trim(slice_split(&type, ';'));
    if (slice_eq_nocase(media, SLICE("application/json")))
        return GITHUB_HEAD_GOOD;
    if (slice_eq_nocase(media, SLICE("application/x-www-form-urlencoded")))
        github_respond(r, 415, NULL, NULL,
                       "This webhook sends forms. On GitHub, under Settings, Webhooks, Edit, set its content type to "
                       "application/json.");
    else
        github_respond(r, 415, NULL, NULL, "A webhook's content type must be application/json.");
    return GITHUB_HEAD_BAD;
}

/* Reads the signature that the request claims. */
static enum github_verdict read_signature(struct http_request *r, unsigned char out[HMAC_SHA256_BYTES])
{
    struct slice value;
    if (http_request_header(r, "X-Hub-Signature-256", &value)) {
        if (slice_has_prefix(value, SLICE("sha256=")) && hex_decode(slice_from(value, 7), out, HMAC_SHA256_BYTES) == OK)
            return GITHUB_HEAD_GOOD;
        github_respond(r, 400, NULL, NULL, "X-Hub-Signature-256 must be sha256= and 64 hexadecimal digits.");
    } else if (http_request_header(r, "X-Hub-Signature", &value)) {
        github_respond(r, 401, "WWW-Authenticate", "X-Hub-Signature-256",
                       "Only a SHA-1 signature (X-Hub-Signature) came, which is not taken: sign with SHA-256 in "
                       "X-Hub-Signature-256.");
    } else {
        github_respond(r, 401, "WWW-Authenticate", "X-Hub-Signature-256",
                       "The signature is missing (X-Hub-Signature-256): on GitHub, give the webhook the same secret as "
                       "this source has.");
    }
    return GITHUB_HEAD_UNSIGNED;
}

static enum github_verdict check_size(struct http_request *r, size_t event_bytes_max)
{
    struct slice value;
    uint64_t length;
    if (!http_request_header(r, "Content-Length", &value) || decimal_parse(value, event_bytes_max, &length) == OK)
        return GITHUB_HEAD_GOOD;
    github_respond(r, 413, NULL, NULL,
                   "The webhook is larger than the %zu bytes that this source takes (--max-event-bytes).",
                   event_bytes_max);
    return GITHUB_HEAD_BAD;
}

enum github_verdict github_head_read(struct http_request *r, const struct github_options *options,
                                     size_t event_bytes_max, struct github_head *out)
{
    if (!slice_eq(http_request_method(r), SLICE("POST"))) {
        github_respond(r, 405, "Allow", "POST", "This is where GitHub posts webhooks; nothing else is to be had here.");
        return GITHUB_HEAD_BAD;
    }
    if (!http_request_header(r, "X-GitHub-Event", &out->event) || !github_is_event_name(out->event)) {
        github_respond(r, 400, NULL, NULL,
                       "X-GitHub-Event is missing or no event's name: this is no webhook of GitHub.");
        return GITHUB_HEAD_BAD;
    }
    if (!http_request_header(r, "X-GitHub-Delivery", &out->delivery) || out->delivery.len == 0 ||
        ce_value_check(CE_STRING, out->delivery, NULL) != OK) {
        github_respond(r, 400, NULL, NULL, "X-GitHub-Delivery is missing or malformed: it becomes the event's id.");
        return GITHUB_HEAD_BAD;
    }
    enum github_verdict verdict = check_content_type(r);
    if (verdict == GITHUB_HEAD_GOOD && options->secret.len > 0)
        verdict = read_signature(r, out->signature);
    return verdict == GITHUB_HEAD_GOOD ? check_size(r, event_bytes_max) : verdict;
}
