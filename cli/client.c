/* SPDX-License-Identifier: Apache-2.0
 *
 * The client verbs' HTTP: the same loop and client as the broker's, run until the one answer is there.
 */
#include "client.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"

#define ANSWER_MAX (64u << 20)     /* a list of everything a server has */
#define RETRY_NS (100 * NS_PER_MS) /* between two tries of one who is patient */

struct client {
    const struct command *command;
    struct client_identity identity;
    struct loop *loop;
    struct http_client *http;
    /* The request under way. */
    struct http_exchange exchange;
    struct client_answer *answer;
    const char *url, *advice;
    struct diag *told; /* NULL: failures are said */
    uint64_t patient_until_ns;
    bool again; /* the request is to be tried once more */
    bool done, good;
};

struct client *client_new(const struct invocation *in)
{
    const struct command *c = in->command;
    struct client *cl = calloc(1, sizeof *cl);
    if (cl && !client_identity_read(in, &cl->identity)) {
        client_free(cl);
        return NULL;
    }
    const struct http_client_options options = {.connections_max = 1, .ca_file = cl ? cl->identity.ca : NULL};
    if (!cl || loop_new(clock_system(), 64, &cl->loop) != OK || http_client_new(cl->loop, &options, &cl->http) != OK) {
        fail(c, EXIT_CODE_FAILED, "out of memory.");
        client_free(cl);
        return NULL;
    }
    cl->command = c;
    cl->advice = "Is `leat serve` running there? --server names another.";
    return cl;
}

static uint64_t now_ns(const struct client *cl)
{
    return clock_monotonic_ns(loop_clock(cl->loop));
}

void client_advise(struct client *cl, const char *advice)
{
    cl->advice = advice;
}

void client_tell(struct client *cl, struct diag *d)
{
    cl->told = d;
}

void client_be_patient(struct client *cl, uint64_t ns)
{
    cl->patient_until_ns = now_ns(cl) + ns;
}

void client_free(struct client *cl)
{
    if (!cl)
        return;
    http_client_free(cl->http);
    loop_free(cl->loop);
    client_identity_fini(&cl->identity);
    free(cl);
}

static void answered(struct http_exchange *x, enum err e, const struct http_response *response, const char *detail)
{
    struct client *cl = container_of(x, struct client, exchange);
    cl->done = true;
    cl->again = now_ns(cl) < cl->patient_until_ns && (e == ERR_UNAVAILABLE || (e == OK && response->status == 503));
    if (cl->again)
        return;
    if (e != OK) {
        const char *advice = strstr(detail, " is not trusted: ") ? "--ca FILE says whom to trust." : cl->advice;
        if (cl->told)
            (void)!diag_set(cl->told, e, "%s: %s", cl->url, detail);
        else
            fail(cl->command, EXIT_CODE_FAILED, "%s: %s. %s", cl->url, detail, advice);
        return;
    }
    cl->answer->status = response->status;
    buf_put(&cl->answer->body, response->body);
    cl->good = buf_error(&cl->answer->body) == OK;
}

static void on_pause(struct loop_timer *t)
{
    (void)t;
}

static enum err rest(struct client *cl)
{
    struct loop_timer t;
    enum err e = OK;
    loop_timer_init(&t, on_pause);
    loop_timer_start(cl->loop, &t, RETRY_NS);
    while (e == OK && loop_timer_armed(&t))
        e = loop_turn(cl->loop, UINT64_MAX);
    loop_timer_stop(cl->loop, &t);
    return e;
}

uint64_t client_patience(const struct client *cl)
{
    uint64_t now = now_ns(cl);
    return now < cl->patient_until_ns ? cl->patient_until_ns - now : 0;
}

bool client_wait(struct client *cl)
{
    return now_ns(cl) < cl->patient_until_ns && rest(cl) == OK;
}

static bool exchange(struct client *cl, struct http_origin *origin)
{
    enum err e;
    do {
        cl->done = cl->good = cl->again = false;
        e = http_exchange_start(origin, &cl->exchange);
        while (e == OK && !cl->done)
            e = loop_turn(cl->loop, UINT64_MAX);
        if (e == OK && cl->again)
            e = rest(cl);
    } while (e == OK && cl->again);
    if (e != OK && cl->told)
        (void)!diag_set(cl->told, e, "%s: %s", cl->url, err_name(e));
    else if (e != OK)
        fail(cl->command, EXIT_CODE_FAILED, "%s: %s.", cl->url, err_name(e));
    return e == OK && cl->good;
}

bool client_had_no_answer(const struct client *cl)
{
    return !cl->good;
}

bool client_send(struct client *cl, const char *method, const char *url, const char *extra, struct slice body,
                 struct client_answer *out)
{
    struct diag d = {0};
    struct http_url parsed;
    struct http_origin *origin = NULL;
    struct buf head;
    buf_init(&out->body, ANSWER_MAX);
    if (http_url_parse(slice_str(url), &parsed, &d) != OK) {
        if (cl->told)
            *cl->told = d;
        else
            fail(cl->command, EXIT_CODE_USAGE, "%s: %s", url, d.text);
        return false;
    }
    buf_init(&head, 1u << 20);
    buf_printf(&head, "%s %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: leat/%s\r\nContent-Length: %zu\r\n%s", method,
               SLICE_ARG(parsed.target), SLICE_ARG(parsed.authority), LEAT_VERSION, body.len, extra ? extra : "");
    client_identity_put(&cl->identity, url, &head);
    buf_put_str(&head, "\r\n");
    cl->exchange =
        (struct http_exchange){.done = answered, .head = buf_slice(&head), .body = body, .body_max = ANSWER_MAX};
    cl->answer = out;
    cl->url = url;
    cl->good = false;
    bool good =
        buf_error(&head) == OK && http_origin_get(cl->http, &parsed, SLICE(""), &origin) == OK && exchange(cl, origin);
    if (origin)
        http_origin_unref(origin);
    http_url_fini(&parsed);
    buf_fini(&head);
    if (!good)
        buf_fini(&out->body);
    return good;
}

const char *server_url(const struct invocation *in)
{
    const char *from_environment = getenv("LEAT_SERVER");
    return option_value(in, "server",
                        from_environment && *from_environment ? from_environment : "http://127.0.0.1:8001");
}

const char *namespace_of(const struct invocation *in)
{
    return option_value(in, "namespace", "default");
}

/* Percent-coded, but for letters, digits and `plain`. */
static void put_coded(struct buf *url, struct slice text, const char *plain)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 128 && (isalnum(c) || strchr(plain, c)))
            buf_put_char(url, (char)c);
        else
            buf_printf(url, "%%%02X", c);
    }
}

void url_put_segment(struct buf *url, const char *text)
{
    put_coded(url, slice_str(text), "-._~:");
}

void object_url(struct buf *out, const char *server, const struct kind *kind, const char *namespace_name,
                const char *name)
{
    size_t n = strlen(server);
    while (n && server[n - 1] == '/')
        n--;
    buf_put(out, slice_of(server, n));
    buf_printf(out, "/%s%s%s/%s", kind->group[0] ? "apis/" : "api", kind->group, "", kind->version);
    if (kind->namespaced && namespace_name) {
        buf_put_str(out, "/namespaces/");
        url_put_segment(out, namespace_name);
    }
    buf_printf(out, "/%s%s", kind->plural, name ? "/" : "");
    url_put_segment(out, name ? name : "");
    buf_put_char(out, '\0');
}

void url_put_query(struct buf *url, const char *name, struct slice value)
{
    bool first = !url->len || !memchr(url->ptr, '?', url->len);
    buf_printf(url, "%c%s=", first ? '?' : '&', name);
    put_coded(url, value, "-._~/:");
}

int fail_with_status(const struct command *c, struct slice body)
{
    cJSON *tree = cJSON_ParseWithLength(body.ptr, body.len);
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, "message"));
    if (message)
        fail(c, EXIT_CODE_FAILED, "%s%s", message, *message && strchr(".?!", message[strlen(message) - 1]) ? "" : ".");
    else
        fail(c, EXIT_CODE_FAILED, "the server answered with an error and no message. Is that leat's API listener?");
    cJSON_Delete(tree);
    return EXIT_CODE_FAILED;
}

cJSON *api_ask(struct client *cl, const char *method, const char *url, const cJSON *body, int *status)
{
    struct client_answer answer = {0};
    char *text = body ? cJSON_PrintUnformatted(body) : NULL;
    cJSON *tree = NULL;
    *status = 0;
    if (client_send(cl, method, url, "Content-Type: application/json\r\nAccept: application/json\r\n", slice_str(text),
                    &answer)) {
        *status = answer.status;
        tree = cJSON_ParseWithLength(answer.body.ptr, answer.body.len);
        if (!tree && answer.status < 400)
            fail(cl->command, EXIT_CODE_FAILED, "%s answered with no JSON. Is that leat's API listener?", url);
        buf_fini(&answer.body);
    }
    cJSON_free(text);
    return tree;
}

void api_say(struct client *cl, const char *url, int status, const cJSON *answer)
{
    const char *message = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "message"));
    if (message)
        fail(cl->command, EXIT_CODE_FAILED, "%s", message);
    else
        fail(cl->command, EXIT_CODE_FAILED, "%s answered %d and says not why. Is that leat's API listener?", url,
             status);
}

/* The API's own words for it: who answers 404 to everything knows of no object. */
static bool is_not_there(const cJSON *tree, const char *method, int status)
{
    const cJSON *details = cJSON_GetObjectItemCaseSensitive(tree, "details");
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(details, "name"));
    return status == 404 && strcmp(method, "GET") == 0 && name && *name;
}

cJSON *api_send(struct client *cl, const char *method, const char *url, const cJSON *body, int *status)
{
    cJSON *tree = api_ask(cl, method, url, body, status);
    if (*status < 400)
        return tree;
    if (!is_not_there(tree, method, *status)) { /* a look whether something is there is no failure */
        api_say(cl, url, *status, tree);
        *status = 0;
    }
    cJSON_Delete(tree);
    return NULL;
}

const char *kind_word(size_t i)
{
    return kind_at(i) ? kind_at(i)->plural : NULL;
}

const char *metadata_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"), name));
}

const char *condition_of(const cJSON *object, const char *type)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status"), *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(status, "conditions")) {
        const char *of = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "type")),
                   *is = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "status"));
        if (of && is && strcmp(of, type) == 0)
            return is;
    }
    return NULL;
}

bool parse_reference(const struct invocation *in, const struct kind **kind, const char **name)
{
    static char word[256];
    const char *first = in->operands[0], *slash = strchr(first, '/');
    size_t n = slash ? (size_t)(slash - first) : strlen(first);
    *name = slash ? slash + 1 : in->operand_count > 1 ? in->operands[1] : NULL;
    if (n < sizeof word) {
        memcpy(word, first, n);
        word[n] = '\0';
        *kind = kind_by_word(word);
        /* Of an empty name (KIND/$UNSET) the URL is that of all of them. */
        if (*kind && ((*name && !**name) || (slash && in->operand_count > 1))) {
            usage_error(in->command, "say which one: %s/NAME.", (*kind)->singular);
            return false;
        }
        if (*kind)
            return true;
    }
    fail(in->command, EXIT_CODE_USAGE, "there is no kind '%.*s'. `leat get` without a kind lists them.", (int)n, first);
    return false;
}

bool parse_object(const struct invocation *in, const struct kind **kind, const char **name)
{
    if (in->operand_count == 0) {
        usage_error(in->command, "say what: KIND/NAME.");
        return false;
    }
    if (!parse_reference(in, kind, name))
        return false;
    if (!*name)
        usage_error(in->command, "say which one: %s/NAME.", (*kind)->singular);
    return *name != NULL;
}

bool read_output(const struct invocation *in, enum output *out)
{
    static const char *const names[] = {"table", "json", "yaml", "name"};
    const char *v = option_value(in, "output", "table");
    for (int i = 0; i < 4; i++)
        if (strcmp(v, names[i]) == 0) {
            *out = (enum output)i;
            return true;
        }
    usage_error(in->command, "-o: '%s' is none of json, yaml, name, table.", v);
    return false;
}

void print_tree(const cJSON *tree, enum output form)
{
    struct buf yaml;
    if (form == OUTPUT_JSON) {
        char *text = cJSON_Print(tree);
        if (text)
            puts(text);
        cJSON_free(text);
        return;
    }
    buf_init(&yaml, ANSWER_MAX);
    yaml_put(tree, &yaml);
    if (yaml.len)
        fwrite(yaml.ptr, 1, yaml.len, stdout);
    buf_fini(&yaml);
}
