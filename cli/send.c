/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat send`: one CloudEvent, or a signed sample of a GitHub webhook, to a URL or to a resource's address.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ce_http.h"
#include "client.h"
#include "github_sample.h"
#include "hmac.h"
#include "prng.h"
#include "text.h"

#define INPUT_MAX (CE_EVENT_BYTES_MAX)
#define SECRET_MAX 4096
#define WAIT_MAX 3600 /* seconds; who waits longer has a mistake somewhere */

static const struct option_spec options[] = {
    {"to", 't', "URL|KIND/NAME", "Where to: a URL, or a resource whose address the server knows.", false},
    {"type", 0, "TYPE", "Default: dev.leat.sample.", false},
    {"source", 0, "URI", "Default: /leat/send.", false},
    {"id", 0, "ID", "Default: a random UUID.", false},
    {"subject", 0, "TEXT", "Default: none.", false},
    {"time", 0, "RFC3339", "Default: now.", false},
    {"content-type", 0, "TYPE", "Of the data. Default: application/json when there is data.", false},
    {"extension", 'e', "NAME=VALUE", "One more attribute. May be given more than once.", true},
    {"data", 'd', "TEXT", "The data; @FILE takes it from a file, @- from standard input.", false},
    {"file", 'f', "FILE", "The whole event as a JSON envelope; - for standard input. The options above change it.",
     false},
    {"structured", 0, NULL, "Send in structured mode.", false},
    {"wait", 'w', "SECONDS", "Try again for so long while nobody answers, or the answer is 503. Default: 0.", false},
    {"secret", 0, "TEXT", "For GitHub samples: the webhook's secret. $GITHUB_SECRET_TOKEN is a safer place.", false},
    {"secret-file", 0, "FILE", "For GitHub samples: a file with the webhook's secret.", false},
    CLIENT_OPTIONS,
    {"output", 'o', "text|json", "Default: text.", false},
    {0},
};

/* ---- the target ---- */

static const char *address_of(const cJSON *object)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status"),
                *address = cJSON_GetObjectItemCaseSensitive(status, "address");
    const char *url = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(address, "url"));
    return url ? url : cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "webhookURL"));
}

/* The address that the server knows of a resource, in `out`, terminated; the exit code. */
static int find_address(const struct invocation *in, struct client *cl, const char *to, const char *url,
                        struct buf *out)
{
    int status, code = EXIT_CODE_OK;
    cJSON *object = api_send(cl, "GET", url, NULL, &status);
    while (object && !address_of(object) && client_wait(cl)) { /* its plan may not be in force yet */
        cJSON_Delete(object);
        object = api_send(cl, "GET", url, NULL, &status);
    }
    const char *address = address_of(object);
    if (address) {
        buf_put_str(out, address);
        buf_put_char(out, '\0');
    } else if (object) {
        code = fail(in->command, EXIT_CODE_FAILED, "%s has no address: `leat get %s -o yaml` says why.", to, to);
    } else if (status == 404) {
        code = fail(in->command, EXIT_CODE_FAILED, "there is no %s in the namespace %s.", to, namespace_of(in));
    } else {
        code = EXIT_CODE_FAILED; /* what went wrong has been said */
    }
    cJSON_Delete(object);
    return code;
}

/* The URL behind --to, in `out`, terminated; the exit code. */
static int find_target(const struct invocation *in, struct client *cl, struct buf *out)
{
    const char *to = option_value(in, "to", NULL);
    const struct kind *kind;
    const char *name;
    struct buf url;
    if (!to)
        return usage_error(in->command, "say where to with --to URL or --to KIND/NAME.");
    if (strstr(to, "://")) {
        buf_put_str(out, to);
        buf_put_char(out, '\0');
        return EXIT_CODE_OK;
    }
    if (!strchr(to, '/'))
        return usage_error(in->command, "--to: '%s' is neither a URL nor KIND/NAME.", to);
    const struct invocation reference = {in->command, &to, 1, in->given, in->given_count};
    if (!parse_reference(&reference, &kind, &name))
        return EXIT_CODE_USAGE;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, namespace_of(in), name);
    int code = find_address(in, cl, to, url.ptr, out);
    buf_fini(&url);
    return code;
}

/* ---- the event ---- */

struct parts { /* what the event's slices point into */
    struct buf data, time, target;
    const struct ce_event *from_file;
    char id[37];
};

static void set_if(struct ce_builder *b, const struct invocation *in, const char *option, struct slice attribute,
                   const char *fallback)
{
    const char *v = option_value(in, option, NULL);
    bool there = false;
    for (size_t i = 0; i < b->count; i++)
        there = there || slice_eq(b->attributes[i].name, attribute);
    if (v || (!there && fallback))
        ce_builder_replace(b, attribute, CE_STRING, slice_str(v ? v : fallback));
}

static int set_extensions(struct ce_builder *b, const struct invocation *in)
{
    size_t cursor = 0;
    for (const char *v; (v = option_next(in, "extension", &cursor));) {
        struct slice rest = slice_str(v), name = slice_split(&rest, '=');
        if (!rest.ptr)
            return usage_error(in->command, "-e: '%s' is not NAME=VALUE.", v);
        ce_builder_replace(b, name, CE_STRING, rest);
    }
    return EXIT_CODE_OK;
}

/* Sets the data from --data; the event's own stays without it. */
static bool set_data(struct ce_builder *b, const struct invocation *in, struct parts *p)
{
    const char *data = option_value(in, "data", NULL);
    if (!data)
        return true;
    struct slice bytes = slice_str(data);
    if (data[0] == '@') {
        if (!read_file(in->command, data + 1, INPUT_MAX, &p->data))
            return false;
        bytes = buf_slice(&p->data);
    }
    ce_builder_data(b, CE_DATA_BYTES, bytes);
    return true;
}

static bool start_from_file(struct ce_builder *b, const struct invocation *in, struct parts *p)
{
    const char *path = option_value(in, "file", NULL);
    ce_builder_init(b);
    if (!path)
        return true;
    if (!read_event(in->command, path, &p->from_file))
        return false;
    ce_builder_from(b, p->from_file);
    return true;
}

/* *out is the caller's when the exit code, which is returned, is 0. */
static int make_event(const struct invocation *in, struct parts *p, const struct ce_event **out)
{
    struct ce_builder b;
    struct prng random;
    struct diag d = {0};
    prng_seed_system(&random);
    prng_uuid(&random, p->id);
    rfc3339_put(&p->time, clock_wall_ns(clock_system()), 3);
    buf_put_char(&p->time, '\0');
    if (!start_from_file(&b, in, p))
        return EXIT_CODE_INPUT;
    set_if(&b, in, "id", SLICE("id"), p->id);
    set_if(&b, in, "source", SLICE("source"), "/leat/send");
    set_if(&b, in, "type", SLICE("type"), "dev.leat.sample");
    set_if(&b, in, "time", SLICE("time"), p->time.ptr);
    set_if(&b, in, "subject", SLICE("subject"), NULL);
    set_if(&b, in, "content-type", SLICE("datacontenttype"), option_given(in, "data") ? "application/json" : NULL);
    int code = set_extensions(&b, in);
    if (code == EXIT_CODE_OK && !set_data(&b, in, p))
        code = EXIT_CODE_INPUT;
    if (code == EXIT_CODE_OK && ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, &d) != OK)
        code = fail(in->command, EXIT_CODE_INPUT, "%s", d.text);
    return code;
}

/* ---- sending ---- */

/* Says how it went; the exit code. */
static int report(const struct invocation *in, const struct client_answer *answer, const char *id, const char *source,
                  const char *url)
{
    bool good = answer->status >= 200 && answer->status < 300, json;
    if (wants_json(in, &json) && json) {
        struct buf out;
        buf_init(&out, 1u << 20);
        buf_printf(&out, "{\"status\":%d,\"id\":", answer->status);
        buf_put_json_string(&out, slice_str(id));
        buf_put_str(&out, ",\"source\":");
        buf_put_json_string(&out, slice_str(source));
        buf_put_str(&out, ",\"url\":");
        buf_put_json_string(&out, slice_str(url));
        buf_put_str(&out, "}\n");
        fwrite(out.ptr, 1, out.len, stdout);
        buf_fini(&out);
    } else if (good) {
        printf("%d accepted id=%s source=%s\n", answer->status, id, source);
    }
    if (!good) {
        struct slice said = buf_slice(&answer->body);
        said.len = said.len < 400 ? said.len : 400;
        while (said.len && isspace((unsigned char)said.ptr[said.len - 1]))
            said.len--;
        fail(in->command, EXIT_CODE_FAILED, "%s answered %d: %.*s", url, answer->status, SLICE_ARG(said));
    }
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static int post(const struct invocation *in, struct client *cl, const char *url, struct buf *headers, struct slice body,
                const char *id, const char *source)
{
    struct client_answer answer = {0};
    buf_put_char(headers, '\0');
    if (buf_error(headers) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "the event's attributes are too large.");
    client_advise(cl, "--to says where events go; --wait SECONDS tries again.");
    if (!client_send(cl, "POST", url, headers->ptr, body, &answer))
        return EXIT_CODE_FAILED;
    int code = report(in, &answer, id, source, url);
    buf_fini(&answer.body);
    return code;
}

static int send_event(const struct invocation *in, struct client *cl, const char *url, const struct ce_event *event)
{
    struct buf headers, envelope;
    struct slice body = ce_event_data(event);
    char id[256], source[256];
    buf_init(&headers, 1u << 20);
    buf_init(&envelope, 2u * CE_EVENT_BYTES_MAX);
    if (ce_event_mode_for(event, option_given(in, "structured") ? CE_MODE_STRUCTURED : CE_MODE_BINARY) ==
        CE_MODE_STRUCTURED) {
        ce_http_encode_structured(event, &headers, &envelope);
        body = buf_slice(&envelope);
    } else {
        ce_http_encode_binary(event, &headers);
    }
    snprintf(id, sizeof id, "%.*s", SLICE_ARG(ce_event_id(event)));
    snprintf(source, sizeof source, "%.*s", SLICE_ARG(ce_event_source(event)));
    int code = post(in, cl, url, &headers, body, id, source);
    buf_fini(&headers);
    buf_fini(&envelope);
    return code;
}

static int make_and_send(const struct invocation *in, struct client *cl, struct parts *p)
{
    const struct ce_event *event = NULL;
    int code = find_target(in, cl, &p->target);
    if (code == EXIT_CODE_OK)
        code = make_event(in, p, &event);
    if (code == EXIT_CODE_OK)
        code = send_event(in, cl, p->target.ptr, event);
    ce_event_unref(event);
    return code;
}

/* ---- GitHub samples ---- */

/* The exit code. */
static int read_secret(const struct invocation *in, struct buf *out)
{
    const char *path = option_value(in, "secret-file", NULL),
               *text = option_value(in, "secret", getenv("GITHUB_SECRET_TOKEN"));
    if (path && !read_file(in->command, path, SECRET_MAX, out))
        return EXIT_CODE_INPUT;
    if (!path && !text)
        return usage_error(in->command,
                           "a webhook is signed: give the secret with --secret-file or $GITHUB_SECRET_TOKEN.");
    if (!path)
        buf_put_str(out, text);
    while (path && out->len && (out->ptr[out->len - 1] == '\n' || out->ptr[out->len - 1] == '\r'))
        out->len--;
    return EXIT_CODE_OK;
}

static enum err sign(struct slice secret, struct slice payload, unsigned char mac[HMAC_SHA256_BYTES])
{
    struct hmac *h;
    enum err e = hmac_new(&h);
    if (e != OK)
        return e;
    e = hmac_init(h, secret);
    if (e == OK)
        e = hmac_update(h, payload);
    if (e == OK)
        e = hmac_final(h, mac);
    hmac_free(h);
    return e;
}

static int send_github(const struct invocation *in, struct client *cl, struct parts *p)
{
    const char *name = in->operand_count > 1 ? in->operands[1] : "push";
    const char *payload = github_sample(name);
    struct prng random;
    struct buf secret, headers;
    unsigned char mac[HMAC_SHA256_BYTES];
    if (!payload)
        return usage_error(
            in->command, "there is no sample of the GitHub event '%s'; there are push, pull_request, issues and ping.",
            name);
    buf_init(&secret, SECRET_MAX);
    int code = find_target(in, cl, &p->target);
    if (code == EXIT_CODE_OK)
        code = read_secret(in, &secret);
    if (code != EXIT_CODE_OK) {
        buf_fini(&secret);
        return code;
    }
    prng_seed_system(&random);
    prng_uuid(&random, p->id);
    buf_init(&headers, 4096);
    code = EXIT_CODE_FAILED;
    if (sign(buf_slice(&secret), slice_str(payload), mac) == OK) {
        buf_printf(&headers,
                   "Content-Type: application/json\r\nX-GitHub-Event: %s\r\nX-GitHub-Delivery: "
                   "%s\r\nX-Hub-Signature-256: sha256=",
                   name, p->id);
        hex_put(&headers, slice_of((const char *)mac, sizeof mac));
        buf_put_str(&headers, "\r\n");
        code = post(in, cl, p->target.ptr, &headers, slice_str(payload), p->id, "github");
    }
    buf_fini(&headers);
    buf_fini(&secret);
    return code;
}

static int run(const struct invocation *in)
{
    bool github = in->operand_count > 0 && strcmp(in->operands[0], "github") == 0;
    bool json;
    struct parts p = {0};
    uint64_t seconds;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (in->operand_count > 0 && !github)
        return usage_error(in->command, "'%s' is no kind of sample; there is github.", in->operands[0]);
    if (decimal_parse(slice_str(option_value(in, "wait", "0")), WAIT_MAX, &seconds) != OK)
        return usage_error(in->command, "--wait: '%s' is no number of seconds from 0 to %d.",
                           option_value(in, "wait", "0"), WAIT_MAX);
    buf_init(&p.time, 64);
    buf_init(&p.target, 8192);
    struct client *cl = client_new(in);
    if (cl)
        client_be_patient(cl, seconds * NS_PER_S);
    int code = !cl ? EXIT_CODE_FAILED : github ? send_github(in, cl, &p) : make_and_send(in, cl, &p);
    client_free(cl);
    ce_event_unref(p.from_file);
    buf_fini(&p.data);
    buf_fini(&p.time);
    buf_fini(&p.target);
    return code;
}

const struct command command_send = {
    .name = "send",
    .summary = "Send a CloudEvent, or a signed sample webhook",
    .operands = "[github [EVENT]]",
    .operand_max = 2,
    .text = "Without operands: one CloudEvent made of the options, a file or standard input. With `github EVENT` "
            "(push, pull_request, issues, ping): the sample\n"
            "of that webhook, signed as GitHub signs. Prints the event's id, which `leat explain` takes.",
    .examples = "  leat send --to http://127.0.0.1:8080/channels/default/orders --type order.made --data '{\"n\":1}'\n"
                "  leat send --to channel/orders -f event.json --structured\n"
                "  GITHUB_SECRET_TOKEN=secret leat send github push --to http://127.0.0.1:8080/hooks/default/robots",
    .options = options,
    .uses_kinds = true,
    .run = run,
};
