/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat wait`: until resources of a running server are as they should be, or the time is over. Each is listed by its
 * name, and then watched from there on, so that nothing that happens is missed and nobody asks again and again; one
 * after the other, as kubectl does it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "text.h"
#include "wait_wish.h"

#define WHY_MAX (2 * WISH_TEXT_MAX + 64)

struct wait {
    const struct invocation *in;
    struct client *client;
    struct wish wish;
    bool json, once; /* looks once */
};

struct target {
    const struct kind *kind;
    char *name, *space; /* owned; space NULL: that of the command line */
};

struct targets {
    struct target *list;
    size_t count;
};

static bool targets_add(struct targets *t, const struct kind *kind, const char *name, const char *space)
{
    struct target one = {kind, strdup(name), space ? strdup(space) : NULL},
                  *more = realloc(t->list, (t->count + 1) * sizeof *more);
    t->list = more ? more : t->list;
    if (more && one.name && (one.space || !space)) {
        t->list[t->count++] = one;
        return true;
    }
    free(one.name);
    free(one.space);
    return false;
}

static void targets_free(struct targets *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->list[i].name);
        free(t->list[i].space);
    }
    free(t->list);
}

/* ---- one of them ---- */

struct look { /* at one object */
    const struct wait *of;
    const struct target *target;
    char *uid; /* owned; of the object that was seen first: another one of its name is not it */
    int met;   /* 1 as it should be, 0 not yet, -1 never */
    bool seen, failed;
    char why[WHY_MAX];
};

static void print_met(const struct look *l, const cJSON *object)
{
    const struct kind *k = l->target->kind;
    if (l->of->json && object)
        print_tree(object, OUTPUT_JSON);
    else if (!l->of->json)
        printf("%s%s%s/%s condition met\n", k->singular, k->group[0] ? "." : "", k->group, l->target->name);
}

/* The object as it is now; NULL: it is not there. */
static void take(struct look *l, const cJSON *object)
{
    const char *uid = object ? metadata_of(object, "uid") : NULL;
    if (l->of->wish.of == FOR_DELETE && uid && l->uid && strcmp(uid, l->uid) != 0)
        object = NULL;
    if (uid && !l->uid)
        l->uid = strdup(uid);
    l->met = wish_met(&l->of->wish, object, l->why, sizeof l->why);
    if (l->met == 1 && (object || l->seen)) /* of what never was there, nothing is said */
        print_met(l, object);
    l->seen = l->seen || object;
}

static void put_collection(struct buf *url, const struct look *l)
{
    const struct target *t = l->target;
    char text[600];
    object_url(url, server_url(l->of->in), t->kind, t->space ? t->space : namespace_of(l->of->in), NULL);
    url->len -= url->len && url->ptr[url->len - 1] == '\0';
    snprintf(text, sizeof text, "metadata.name=%s", t->name);
    url_put_query(url, "fieldSelector", slice_str(text));
}

/* Looks once; where a watch goes on from there, or empty (said) on failure. */
static void list_it(struct look *l, char version[40])
{
    struct buf url;
    int status;
    buf_init(&url, 8192);
    put_collection(&url, l);
    buf_put_char(&url, '\0');
    cJSON *tree = buf_error(&url) == OK ? api_send(l->of->client, "GET", url.ptr, NULL, &status) : NULL;
    const char *at = metadata_of(tree, "resourceVersion");
    l->failed = !tree;
    if (tree)
        take(l, cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(tree, "items"), 0));
    snprintf(version, 40, "%s", at ? at : "0");
    cJSON_Delete(tree);
    buf_fini(&url);
}

/* An event of a watch; false: that was the last one that is wanted. */
static bool on_event(void *arg, struct slice line)
{
    struct look *l = arg;
    cJSON *event = cJSON_ParseWithLength(line.ptr, line.len);
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(event, "object");
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(event, "type"));
    bool more = true;
    if (type && strcmp(type, "ERROR") == 0) {
        const cJSON *code = cJSON_GetObjectItemCaseSensitive(object, "code"),
                    *text = cJSON_GetObjectItemCaseSensitive(object, "message");
        more = false;
        l->failed = !cJSON_IsNumber(code) || code->valueint != 410; /* 410: to be listed anew */
        if (l->failed)
            fail(l->of->in->command, EXIT_CODE_FAILED, "%s.", cJSON_IsString(text) ? text->valuestring : "an error");
    } else if (type && strcmp(type, "BOOKMARK") != 0) {
        bool deleted = strcmp(type, "DELETED") == 0;
        take(l, deleted ? NULL : object);
        if (deleted && !l->met)
            snprintf(l->why, sizeof l->why, "it was deleted");
        more = !l->met;
    }
    cJSON_Delete(event);
    return more;
}

/* Watches from this version on; false: the time is over, or there is no use in going on. */
static bool watch_it(struct look *l, const char *version)
{
    struct buf url;
    uint64_t left_ns = client_patience(l->of->client);
    char seconds[32];
    if (left_ns == 0)
        return false;
    buf_init(&url, 8192);
    put_collection(&url, l);
    snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(left_ns / NS_PER_S + 2)); /* the end here is ours */
    url_put_query(&url, "watch", SLICE("true"));
    url_put_query(&url, "resourceVersion", slice_str(version));
    url_put_query(&url, "timeoutSeconds", slice_str(seconds));
    buf_put_char(&url, '\0');
    enum stream_end end =
        buf_error(&url) == OK ? client_stream_for(l->of->in, url.ptr, left_ns, on_event, l) : STREAM_FAILED;
    bool by_us = l->met || l->failed;
    buf_fini(&url);
    l->failed = l->failed || end == STREAM_FAILED || end == STREAM_INTERRUPTED;
    if (end == STREAM_ENDED && !by_us)
        client_wait(l->of->client); /* its server went, or let it go: not at once again */
    return !l->met && !l->failed && end != STREAM_OVER;
}

/* What came of it instead, in kubectl's words and why. */
static int say(const struct look *l)
{
    const struct command *c = l->of->in->command;
    const struct target *t = l->target;
    const struct kind *k = t->kind;
    bool needs = l->of->wish.of == FOR_CONDITION || l->of->wish.of == FOR_PATH;
    if (l->met < 0)
        return fail(c, EXIT_CODE_FAILED, "%s/%s: %s.", k->plural, t->name, l->why);
    if (!l->seen && needs)
        return fail(c, EXIT_CODE_FAILED, "%s%s%s \"%s\" not found%s%s; --for=create waits for it.", k->plural,
                    k->group[0] ? "." : "", k->group, t->name, k->namespaced ? " in the namespace " : "",
                    !k->namespaced ? ""
                    : t->space     ? t->space
                                   : namespace_of(l->of->in));
    return fail(c, EXIT_CODE_FAILED, "%s %s/%s: %s.",
                l->of->once ? "condition not met for" : "timed out waiting for the condition on", k->plural, t->name,
                l->why);
}

static int wait_for(const struct wait *w, const struct target *t)
{
    struct look l = {.of = w, .target = t};
    char version[40];
    bool needs = w->wish.of == FOR_CONDITION || w->wish.of == FOR_PATH, more = true;
    do {
        list_it(&l, version);
        if (l.met || l.failed || (needs && !l.seen))
            break;
        more = watch_it(&l, version);
    } while (more);
    free(l.uid);
    if (l.met == 1)
        return EXIT_CODE_OK;
    return l.failed ? EXIT_CODE_FAILED : say(&l);
}

/* ---- which ---- */

/* A word before a slash, or the whole, as a kind; NULL (said): it is none. */
static const struct kind *kind_of(const struct invocation *in, const char *operand)
{
    char word[256];
    size_t n = strcspn(operand, "/");
    snprintf(word, sizeof word, "%.*s", n < sizeof word ? (int)n : 0, operand);
    const struct kind *kind = kind_by_word(word);
    if (!kind)
        fail(in->command, EXIT_CODE_USAGE, "there is no kind '%.*s'. `leat get` without a kind lists them.", (int)n,
             operand);
    return kind;
}

/* "KIND/NAME KIND/NAME ..." or "KIND NAME NAME ..."; false (said) when it is neither. */
static bool read_names(const struct invocation *in, struct targets *out)
{
    const struct kind *kind = NULL;
    bool apart = !strchr(in->operands[0], '/') && in->operand_count > 1;
    for (size_t i = 0; i < in->operand_count; i++) {
        const char *operand = in->operands[i], *slash = strchr(operand, '/');
        if (!apart || i == 0)
            kind = kind_of(in, operand);
        if (!kind)
            return false;
        if (apart && i == 0)
            continue;
        const char *name = apart ? operand : slash ? slash + 1 : "";
        if (!*name || (apart && slash)) {
            usage_error(in->command, "'%s' does not say which one: KIND/NAME, or KIND with --all or --selector.",
                        operand);
            return false;
        }
        if (!targets_add(out, kind, name, NULL)) {
            fail(in->command, EXIT_CODE_FAILED, "out of memory.");
            return false;
        }
    }
    return true;
}

/* All of a kind, or those that the selector means. */
static bool list_kind(const struct wait *w, const struct kind *kind, struct targets *out)
{
    const struct invocation *in = w->in;
    const char *selector = option_value(in, "selector", NULL);
    const cJSON *item;
    struct buf url;
    int status;
    bool good;
    buf_init(&url, 65536);
    object_url(&url, server_url(in), kind, option_given(in, "all-namespaces") ? NULL : namespace_of(in), NULL);
    url.len -= url.len && url.ptr[url.len - 1] == '\0';
    if (selector)
        url_put_query(&url, "labelSelector", slice_str(selector));
    buf_put_char(&url, '\0');
    cJSON *tree = buf_error(&url) == OK ? api_send(w->client, "GET", url.ptr, NULL, &status) : NULL;
    good = tree;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(tree, "items")) {
        const char *name = metadata_of(item, "name");
        if (good && !name)
            fail(in->command, EXIT_CODE_FAILED, "%s: an object has no name. Is that leat's API listener?", url.ptr);
        good = good && name && targets_add(out, kind, name, metadata_of(item, "namespace"));
    }
    cJSON_Delete(tree);
    buf_fini(&url);
    return good;
}

/* The exit code; OK with none of them where nobody waits for any. */
static int choose(const struct wait *w, struct targets *out)
{
    const struct invocation *in = w->in;
    for (;;) {
        for (size_t i = 0; i < in->operand_count; i++) {
            const struct kind *kind = kind_of(in, in->operands[i]);
            if (!kind || !list_kind(w, kind, out))
                return kind ? EXIT_CODE_FAILED : EXIT_CODE_USAGE;
        }
        if (out->count || w->wish.of == FOR_DELETE)
            return EXIT_CODE_OK;
        if (w->wish.of != FOR_CREATE)
            return fail(in->command, EXIT_CODE_FAILED, "no matching resources found.");
        if (!client_wait(w->client))
            return fail(in->command, EXIT_CODE_FAILED, "timed out waiting for the condition: there are none.");
    }
}

/* ---- the verb ---- */

static int wait_for_all(const struct wait *w, bool by_kind)
{
    struct targets all = {0};
    int code = EXIT_CODE_USAGE;
    if (by_kind)
        code = choose(w, &all);
    else if (read_names(w->in, &all))
        code = EXIT_CODE_OK;
    for (size_t i = 0, count = code == EXIT_CODE_OK ? all.count : 0; i < count; i++)
        if (wait_for(w, &all.list[i]) != EXIT_CODE_OK)
            code = EXIT_CODE_FAILED;
    targets_free(&all);
    return code;
}

static int run(const struct invocation *in)
{
    struct wait w = {.in = in};
    struct diag d = {0};
    uint64_t ns;
    const char *wish = option_value(in, "for", "condition=Ready"), *time = option_value(in, "timeout", "30s");
    bool by_kind = option_given(in, "all") || option_given(in, "selector");
    if (!wants_json(in, &w.json))
        return EXIT_CODE_USAGE;
    if (in->operand_count == 0)
        return usage_error(in->command, "say for what: KIND/NAME, or KIND with --all or --selector.");
    const char *wrong = wish_read(wish, &w.wish);
    if (wrong)
        return usage_error(in->command, "--for: '%s' %s.", wish, wrong);
    if (duration_parse(slice_str(time), &ns, &d) != OK)
        return usage_error(in->command, "--timeout: %s", d.text);
    for (size_t i = 0; by_kind && i < in->operand_count; i++)
        if (strchr(in->operands[i], '/'))
            return usage_error(in->command, "'%s' names one: --all and --selector are for a KIND.", in->operands[i]);
    if (option_given(in, "all-namespaces") && !by_kind)
        return usage_error(in->command, "-A is for --all and --selector; a name is of one namespace (-n).");
    w.once = ns == 0;
    if (!(w.client = client_new(in)))
        return EXIT_CODE_FAILED;
    client_be_patient(w.client, ns);
    int code = wait_for_all(&w, by_kind);
    client_free(w.client);
    return code;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"for", 0, "WHAT",
     "condition=NAME, condition=NAME=VALUE, delete, create, jsonpath={.PATH}, "
     "jsonpath={.PATH}=VALUE. Default: condition=Ready.",
     false},
    {"all", 0, NULL, "All that are there of the KIND.", false},
    {"selector", 'l', "SELECTOR", "Those of the KIND with these labels: a=b,c in (d,e),!f.", false},
    {"all-namespaces", 'A', NULL, "With --all or --selector: of all namespaces.", false},
    {"timeout", 0, "DURATION", "How long, for all of them together; 0s looks once. Default: 30s.", false},
    {"output", 'o', "text|json", "json: the object as it then is. Default: text.", false},
    {0},
};

const struct command command_wait = {
    .name = "wait",
    .summary = "Wait until resources are ready, or gone, or as they should be",
    .operands = "KIND/NAME... | KIND NAME... | KIND...",
    .operand_max = SIZE_MAX,
    .text = "They are watched, one after the other. Exit code 1 when the time is over first, with what is missing, or "
            "when one is not there (but for --for=delete, which that is, and create). A server that does not answer "
            "yet, or goes meanwhile, is waited for as well.",
    .examples = "  leat wait channel/orders subscription/billing\n"
                "  leat wait triggers --all --timeout 5s\n"
                "  leat wait trigger/big --for condition=Ready=False --timeout 5s\n"
                "  leat wait subscriptions -l team=shop --for delete\n"
                "  leat wait channel/orders --for 'jsonpath={.status.address.url}'",
    .options = options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run,
};
