/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat run`: becomes a command, with the environment that Knative's SinkBinding would give it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "event.h"
#include "http_client.h"

#define CERTS_MAX (1u << 16) /* a variable of the environment holds 128 KiB at most */
#define OVERRIDES_MAX (1u << 16)

/* status.address.url of an object on the server; false (said). `out` is terminated. */
static bool ask_address(const struct invocation *in, const char *word, struct buf *out)
{
    const struct invocation about = {.command = in->command,
                                     .operands = &word,
                                     .operand_count = 1,
                                     .given = in->given,
                                     .given_count = in->given_count};
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status;
    if (!parse_reference(&about, &kind, &name))
        return false;
    if (!name) {
        usage_error(in->command, "--sink: say which one: %s/NAME.", kind->singular);
        return false;
    }
    struct client *cl = client_new(in);
    if (!cl)
        return false;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, namespace_of(in), name);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    const cJSON *address =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "status"), "address");
    const cJSON *where = cJSON_GetObjectItemCaseSensitive(address, "url");
    if (cJSON_IsString(where))
        buf_put_str(out, where->valuestring);
    else if (tree)
        fail(in->command, EXIT_CODE_FAILED, "--sink: %s/%s has no address; `leat get %s/%s` says whether it is ready.",
             kind->singular, name, kind->singular, name);
    else if (status == 404)
        fail(in->command, EXIT_CODE_FAILED, "--sink: there is no %s/%s in the namespace %s.", kind->singular, name,
             namespace_of(in));
    buf_put(out, slice_of("", 1));
    bool good = cJSON_IsString(where) && buf_error(out) == OK;
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return good;
}

/* A URL as it is, or the address of KIND/NAME. */
static bool find_sink(const struct invocation *in, struct buf *out, int *code)
{
    const char *word = option_value(in, "sink", getenv("K_SINK"));
    struct http_url url;
    struct diag d = {0};
    *code = EXIT_CODE_USAGE;
    if (!word || !*word) {
        usage_error(in->command, "there is no sink: give --sink URL or --sink KIND/NAME, or set K_SINK.");
        return false;
    }
    if (!strstr(word, "://")) {
        *code = EXIT_CODE_FAILED;
        return ask_address(in, word, out);
    }
    if (http_url_parse(slice_str(word), &url, &d) != OK) {
        usage_error(in->command, "--sink: %s.", d.text);
        return false;
    }
    http_url_fini(&url);
    buf_put_str(out, word);
    buf_put(out, slice_of("", 1));
    return buf_error(out) == OK;
}

static bool put_override(const struct invocation *in, const char *given, struct buf *out)
{
    static const char *const core[] = {"specversion",     "id",         "source", "type", "subject", "time",
                                       "datacontenttype", "dataschema", NULL};
    struct slice value = slice_str(given), name = slice_split(&value, '=');
    struct diag d = {0};
    if (!value.ptr || ce_name_check(name, &d) != OK || ce_value_check(CE_STRING, value, &d) != OK) {
        usage_error(in->command, "--ce-override: '%s': %s", given,
                    value.ptr ? d.text : "write NAME=VALUE, as in team=mills");
        return false;
    }
    for (const char *const *n = core; *n; n++)
        if (slice_eq_str(name, *n)) {
            usage_error(in->command,
                        "--ce-override: %s: whoever makes the event sets this; only extensions can be given.", *n);
            return false;
        }
    buf_put_json_string(out, name);
    buf_put_char(out, ':');
    buf_put_json_string(out, value);
    return true;
}

/* {"extensions":{...}}; empty without any. */
static bool put_overrides(const struct invocation *in, struct buf *out)
{
    size_t cursor = 0;
    for (const char *given; (given = option_next(in, "ce-override", &cursor));) {
        buf_put_str(out, out->len ? "," : "{\"extensions\":{");
        if (!put_override(in, given, out))
            return false;
    }
    buf_put_str(out, out->len ? "}}" : "");
    buf_put(out, slice_of("", 1));
    return buf_error(out) == OK;
}

/* Empty text: the variable stays as it is. */
static bool set(const char *name, const char *value)
{
    return !value || !*value || setenv(name, value, 1) == 0;
}

static int become(const struct invocation *in, const struct buf *sink, const struct buf *overrides,
                  const struct buf *certs)
{
    const struct command *c = in->command;
    if (!set("K_SINK", sink->ptr) || !set("K_CE_OVERRIDES", overrides->ptr) || !set("K_CA_CERTS", certs->ptr) ||
        !set("NAMESPACE", option_given(in, "namespace") ? namespace_of(in) : NULL) ||
        !set("NAME", option_value(in, "name", NULL)))
        return fail(c, EXIT_CODE_FAILED, "no memory.");
    signal(SIGPIPE, SIG_DFL);
    execvp(in->operands[0], (char *const *)(uintptr_t)in->operands);
    return fail(c, EXIT_CODE_FAILED, "%s cannot be run: %s.", in->operands[0], strerror(errno));
}

static int run_run(const struct invocation *in)
{
    const char *ca = option_value(in, "ca-file", NULL);
    struct buf sink, overrides, certs;
    if (in->operand_count == 0)
        return usage_error(in->command, "there is no command; write it behind --, as in -- COMMAND ARGUMENTS.");
    buf_init(&sink, 8192);
    buf_init(&overrides, OVERRIDES_MAX);
    buf_init(&certs, CERTS_MAX);
    int code = EXIT_CODE_USAGE;
    bool good = put_overrides(in, &overrides);
    if (good && ca) {
        code = EXIT_CODE_INPUT;
        good = read_file(in->command, ca, CERTS_MAX - 1, &certs);
        buf_put(&certs, slice_of("", 1));
    }
    if (good && find_sink(in, &sink, &code))
        code = become(in, &sink, &overrides, &certs);
    buf_fini(&sink);
    buf_fini(&overrides);
    buf_fini(&certs);
    return code;
}

static const struct option_spec run_options[] = {
    {"sink", 0, "SINK", "Where the command's events go: a URL, or KIND/NAME on the server. Default: $K_SINK.", false},
    {"ce-override", 0, "NAME=VALUE", "An extension that each event should get.", true},
    {"ca-file", 0, "FILE", "Certificates (PEM) that an https sink is trusted by.", false},
    {"name", 0, "NAME", "Becomes $NAME. Default: as it is.", false},
    CLIENT_OPTIONS,
    {0}};

const struct command command_run_with_sink = {
    .name = "run",
    .summary = "Run a command that sends events, and tell it where to",
    .operands = "-- COMMAND [ARGUMENTS]",
    .operand_max = SIZE_MAX,
    .text = "The command gets K_SINK, K_CE_OVERRIDES and K_CA_CERTS, as Knative's SinkBinding sets them, NAMESPACE and "
            "NAME\n"
            "where they are given, and takes the place of leat: its signals and its exit code are its own. To have it\n"
            "started again when it ends, see `leat source process`.",
    .examples =
        "  leat run --sink channel/beats -- ./heartbeats\n"
        "  leat run --sink broker/default -n shop --ce-override team=mills -- sh -c 'leat send --to \"$K_SINK\" "
        "--type beat'",
    .options = run_options,
    .uses_kinds = true,
    .run = run_run,
};
