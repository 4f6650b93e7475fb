/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat explain`: where an event went, as a tree: the channels that took it, for each subscription what became of it,
 * and each attempt under it with its time after the event's arrival. A word that names a kind is explain_kind.c's.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "explain_kind.h"
#include "text.h"

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"source", 0, "URI", "The event's source. Ids are unique per source only.", false},
    {"all", 0, NULL, "Also every subscription whose filter does not match. Default: the first 20.", false},
    {"event", 0, NULL, "The word is an event's id, also when it names a kind.", false},
    {"recursive", 0, NULL, "Of a kind: the fields of its fields too.", false},
    {"api-version", 0, "GROUP/VERSION", "Of a kind: this version of it. Default: the preferred one.", false},
    {"output", 'o', "text|json", "Default: text.", false},
    {0},
};

static const cJSON *item(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_in(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(item(o, name));
    return text ? text : "";
}

static double number_in(const cJSON *o, const char *name)
{
    return cJSON_IsNumber(item(o, name)) ? item(o, name)->valuedouble : 0;
}

static bool time_in(const cJSON *o, const char *name, int64_t *wall_ns)
{
    return rfc3339_parse(slice_str(text_in(o, name)), wall_ns) == OK;
}

/* "trigger", as people write a kind in a sentence. */
static void print_kind(const cJSON *o)
{
    for (const char *c = text_in(o, "kind"); *c; c++)
        putchar(tolower((unsigned char)*c));
}

/* "0.6 ms", "12.5 s", "3 min", in about three figures. */
static void print_span(double ns)
{
    double ms = ns / (double)NS_PER_MS;
    if (ms < 1000)
        printf("%.*f ms", ms < 10 ? 1 : 0, ms);
    else if (ms < 120 * 1000)
        printf("%.1f s", ms / 1000);
    else if (ms < 120 * 60 * 1000)
        printf("%.0f min", ms / 60000);
    else
        printf("%.0f h", ms / 3600000);
}

static const char *colour(const char *state)
{
    if (!colours_on(STDOUT_FILENO))
        return "";
    if (strcmp(state, "delivered") == 0)
        return "\033[32m";
    if (strcmp(state, "parked") == 0 || strcmp(state, "dead-lettered") == 0 || strcmp(state, "expired") == 0)
        return "\033[31m";
    return "\033[33m";
}

static const char *colour_off(void)
{
    return colours_on(STDOUT_FILENO) ? "\033[0m" : "";
}

/* First line of a text that came from outside: no control character reaches the terminal. */
static void print_line_of(const char *text)
{
    for (; *text && *text != '\n' && *text != '\r'; text++)
        putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

/* ---- the tree ---- */

static void print_attempt(const cJSON *a, int64_t from_ns)
{
    int64_t at = from_ns, next;
    const char *text = text_in(a, "text");
    double code = number_in(a, "code");
    time_in(a, "time", &at);
    printf("    +");
    print_span(at > from_ns ? (double)(at - from_ns) : 0);
    const char *again = number_in(a, "redrive") > 0 ? "redriven, " : number_in(a, "replay") > 0 ? "replayed, " : "";
    if (number_in(a, "number") == 0) {
        printf("  %s%s, not sent: ", again, text_in(a, "phase"));
        print_line_of(text);
        putchar('\n');
        return;
    }
    printf("  %s%s %.0f: ", again, text_in(a, "phase"), number_in(a, "number"));
    if (code > 0)
        printf("%.0f", code);
    else
        printf("%s", *text_in(a, "error") ? text_in(a, "error") : "done");
    printf(" after ");
    print_span(number_in(a, "milliseconds") * (double)NS_PER_MS);
    if (*text) {
        printf(": ");
        print_line_of(text);
    }
    if (time_in(a, "nextAttempt", &next)) {
        printf("; next at +");
        print_span(next > from_ns ? (double)(next - from_ns) : 0);
    }
    putchar('\n');
}

static void print_subscription(const cJSON *s, int64_t from_ns)
{
    const cJSON *attempt;
    int64_t ended;
    const char *state = text_in(s, "state");
    printf("  ");
    print_kind(s);
    printf(" %s/%s: ", text_in(s, "namespace"), text_in(s, "name"));
    if (!*state) {
        printf("no match: ");
        print_line_of(text_in(s, "reason"));
        putchar('\n');
        return;
    }
    printf("%s%s%s", colour(state), state, colour_off());
    if (time_in(s, "ended", &ended)) {
        printf(" at +");
        print_span(ended > from_ns ? (double)(ended - from_ns) : 0);
    } else if (strcmp(state, "newer") == 0) {
        printf(" than the event: it was made after it came");
    } else if (strcmp(state, "waiting") == 0) {
        printf(" (nothing is known of an attempt)");
    }
    if (cJSON_IsFalse(item(s, "matched")))
        printf(" (its filter, as it is now, would not match)");
    putchar('\n');
    cJSON_ArrayForEach(attempt, item(s, "attempts"))
        print_attempt(attempt, from_ns);
}

static void print_taken(const cJSON *taken, const cJSON *channel, int64_t now_ns)
{
    int64_t at;
    printf("  taken by ");
    if (*text_in(channel, "name")) {
        print_kind(channel);
        printf(" %s/%s", text_in(channel, "namespace"), text_in(channel, "name"));
    } else {
        printf("a channel that is gone");
    }
    if (time_in(taken, "time", &at)) {
        putchar(' ');
        print_span(now_ns > at ? (double)(now_ns - at) : 0);
        printf(" ago (%s)", text_in(taken, "time"));
    }
    if (*text_in(taken, "request"))
        printf(", request %s", text_in(taken, "request"));
    if (*text_in(taken, "requestId")) {
        printf(", x-request-id ");
        print_line_of(text_in(taken, "requestId"));
    }
    if (*text_in(taken, "cause")) {
        printf(", made by the delivery of event ");
        print_line_of(text_in(taken, "cause"));
    }
    putchar('\n');
}

static void print_event(const cJSON *e, const char *id, int64_t now_ns)
{
    const cJSON *x, *taken = item(e, "taken"), *channel = item(e, "channel");
    int64_t from = now_ns;
    printf("event ");
    print_line_of(id);
    if (*text_in(e, "source")) {
        printf(" from ");
        print_line_of(text_in(e, "source"));
        printf(", type ");
        print_line_of(text_in(e, "type"));
    }
    putchar('\n');
    if (cJSON_GetArraySize(taken) > 0)
        time_in(cJSON_GetArrayItem(taken, 0), "time", &from);
    else
        printf("  %s\n", strcmp(text_in(channel, "kind"), "KafkaSource") == 0 ? "read from Kafka"
                         : strcmp(text_in(channel, "kind"), "RabbitmqSource") == 0
                             ? "read from RabbitMQ"
                             : "how it came in is not known here: forgotten, refused, or taken by another process");
    cJSON_ArrayForEach(x, taken)
        print_taken(x, channel, now_ns);
    cJSON_ArrayForEach(x, item(e, "subscriptions"))
        print_subscription(x, from);
    if (number_in(e, "unlisted") > 0)
        printf("  and %.0f more %s; --all lists them\n", number_in(e, "unlisted"),
               number_in(e, "unmatched") > 0 ? "that do not match" : "of which nothing is known");
    if (channel && *text_in(channel, "name") && cJSON_GetArraySize(item(e, "subscriptions")) == 0)
        printf("  %s\n", strcmp(text_in(channel, "kind"), "KafkaSink") == 0 ? "written into its topic"
                                                                            : "nobody subscribes to it");
    cJSON_ArrayForEach(x, item(e, "made")) {
        printf("  made event ");
        print_line_of(text_in(x, "id"));
        printf(", taken by ");
        print_kind(item(x, "channel"));
        printf(" %s/%s\n", text_in(item(x, "channel"), "namespace"), text_in(item(x, "channel"), "name"));
    }
}

/* What a token of one namespace does not see. */
static void print_left_out(const cJSON *l)
{
    static const struct {
        const char *member, *one, *many;
    } parts[] = {{"channels", "channel", "channels"},
                 {"subscriptions", "subscription", "subscriptions"},
                 {"made", "event that was made", "events that were made"}};
    const char *before = "Of other namespaces, which the token does not see, are left out: ";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        double n = number_in(l, parts[i].member);
        if (n <= 0)
            continue;
        printf("%s%.0f %s", before, n, n == 1 ? parts[i].one : parts[i].many);
        before = ", ";
    }
    if (*before == ',')
        printf(".\n");
}

static void print_all(const cJSON *tree)
{
    const cJSON *e;
    int64_t now = clock_wall_ns(clock_system());
    cJSON_ArrayForEach(e, item(tree, "events"))
        print_event(e, text_in(tree, "id"), now);
    print_left_out(item(tree, "leftOut"));
    if (cJSON_IsFalse(item(tree, "complete")))
        printf("There is more than can be shown; these are the newest notes.\n");
}

/* ---- the request ---- */

static int show(const struct invocation *in, const struct client_answer *answer, bool json)
{
    if (answer->status != 200)
        return fail_with_status(in->command, buf_slice(&answer->body));
    cJSON *tree = cJSON_ParseWithLength(answer->body.ptr, answer->body.len);
    if (!tree)
        return fail(in->command, EXIT_CODE_FAILED, "the answer is no JSON. Is that leat's API listener?");
    if (json)
        print_tree(tree, OUTPUT_JSON);
    else
        print_all(tree);
    cJSON_Delete(tree);
    return EXIT_CODE_OK;
}

static int run(const struct invocation *in)
{
    bool json;
    struct buf url;
    struct client_answer answer = {0};
    const char *source = option_value(in, "source", NULL);
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (in->operand_count == 0)
        return usage_error(in->command, "expected the id of an event, or a kind such as trigger.spec.filter.");
    const char *path, *version = option_value(in, "api-version", NULL);
    const struct kind *kind = explain_kind_of(in->operands[0], version, &path);
    bool of_event = source || option_given(in, "event") || option_given(in, "all");
    if (kind && !of_event)
        return explain_kind(in, kind, path, json);
    if (version || option_given(in, "recursive"))
        return usage_error(in->command, "'%s' is no kind%s%s. `leat get` lists them.", in->operands[0],
                           version ? " of " : "", version ? version : "");
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 1u << 20);
    buf_printf(&url, "%s/leat/v1/explain", server_url(in));
    url_put_query(&url, "id", slice_str(in->operands[0]));
    if (source)
        url_put_query(&url, "source", slice_str(source));
    if (option_given(in, "all"))
        url_put_query(&url, "all", SLICE("true"));
    buf_put_char(&url, '\0');
    int code = EXIT_CODE_FAILED;
    if (buf_error(&url) == OK && client_send(cl, "GET", url.ptr, NULL, SLICE(""), &answer)) {
        code = show(in, &answer, json);
        buf_fini(&answer.body);
    }
    buf_fini(&url);
    client_free(cl);
    return code;
}

const struct command command_explain = {
    .name = "explain",
    .summary = "Show where an event went, or what a kind's fields are",
    .operands = "EVENT-ID|KIND[.FIELD...]",
    .operand_max = 1,
    .text = "For each channel that took the event: its subscriptions, whether their filters match (and if not, which "
            "part says no), each attempt with time,\n"
            "code, duration and the first bytes of the answer, and how it ended. `leat send` prints the id. The server "
            "remembers the latest events, as many as\n"
            "fit what `leat serve --trace-bytes` allows.\n"
            "A word that names a kind, with or without the path of a field, is told of from the schemas that the "
            "program brings, and no server is asked. An event\n"
            "whose id is such a word is meant with --event, --source or --all.",
    .examples = "  leat explain 3f2504e0-4f89-41d3-9a0c-0305e82c3301\n"
                "  leat explain trigger.spec.filters\n"
                "  leat explain sequence --recursive\n"
                "  leat explain 42 --source /shop -o json",
    .options = options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run,
};
