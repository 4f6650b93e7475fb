/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat describe`: one resource of a running server for people: what it is, its spec, its conditions, and what happened
 * to it lately.
 */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "client.h"

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_of(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(member(o, name));
    return text ? text : "";
}

static void print_map(const char *head, const cJSON *map)
{
    const cJSON *each;
    if (!cJSON_IsObject(map))
        return;
    cJSON_ArrayForEach(each, map) {
        if (strcmp(each->string, "kubectl.kubernetes.io/last-applied-configuration") == 0)
            continue;
        printf("%-14s%s=%s\n", head, each->string, cJSON_GetStringValue(each) ? each->valuestring : "");
        head = "";
    }
}

/* A part of the object as YAML, two spaces in. */
static void print_part(const char *head, const cJSON *tree)
{
    struct buf yaml;
    if (!tree || !tree->child)
        return;
    buf_init(&yaml, 64u << 20);
    yaml_put(tree, &yaml);
    printf("%s\n", head);
    struct slice rest = buf_slice(&yaml);
    while (rest.len) {
        struct slice line = slice_split(&rest, '\n');
        printf("  %.*s\n", SLICE_ARG(line));
    }
    buf_fini(&yaml);
}

static void print_conditions(const cJSON *list)
{
    const cJSON *each;
    struct ask_table *t;
    if (!cJSON_GetArraySize(list) || !(t = table_new(4)))
        return;
    printf("Conditions:\n");
    static const char *const heads[] = {"  TYPE", "STATUS", "REASON", "MESSAGE"};
    for (size_t i = 0; i < 4; i++)
        table_cell(t, heads[i]);
    cJSON_ArrayForEach(each, list) {
        char type[128];
        snprintf(type, sizeof type, "  %s", text_of(each, "type"));
        table_cell(t, type);
        table_cell(t, text_of(each, "status"));
        table_cell(t, text_of(each, "reason"));
        table_cell(t, text_of(each, "message"));
    }
    table_print(t);
}

static void print_events(const cJSON *list)
{
    const cJSON *each;
    struct ask_table *t = NULL;
    if (!cJSON_GetArraySize(list) || !(t = table_new(5))) {
        printf("Events:       none\n");
        return;
    }
    printf("Events:\n");
    static const char *const heads[] = {"  LAST SEEN", "COUNT", "TYPE", "REASON", "MESSAGE"};
    for (size_t i = 0; i < 5; i++)
        table_cell(t, heads[i]);
    cJSON_ArrayForEach(each, list) {
        char time[64], times[32];
        const double count = cJSON_GetNumberValue(member(each, "count")); /* not a number: it was told as one */
        const char *last = text_of(each, "lastTimestamp");
        snprintf(time, sizeof time, "  %s", *last ? last : text_of(each, "eventTime"));
        snprintf(times, sizeof times, "%.0f", count >= 1 ? count : 1.0);
        table_cell(t, time);
        table_cell(t, times);
        table_cell(t, text_of(each, "type"));
        table_cell(t, text_of(each, "reason"));
        table_cell(t, text_of(each, "message"));
    }
    table_print(t);
}

static void print_all(const struct kind *k, const cJSON *object, const cJSON *events)
{
    const cJSON *metadata = member(object, "metadata"), *each;
    bool secret = k->group[0] == '\0' && strcmp(k->kind, "Secret") == 0;
    printf("%-14s%s\n", "Name:", text_of(metadata, "name"));
    if (k->namespaced)
        printf("%-14s%s\n", "Namespace:", text_of(metadata, "namespace"));
    printf("%-14s%s (%s)\n", "Kind:", k->kind, text_of(object, "apiVersion"));
    print_map("Labels:", member(metadata, "labels"));
    print_map("Annotations:", member(metadata, "annotations"));
    printf("%-14s%s\n", "Created:", text_of(metadata, "creationTimestamp"));
    const char *url = text_of(member(member(object, "status"), "address"), "url");
    if (*url)
        printf("%-14s%s\n", "URL:", url);
    print_part("Spec:", member(object, "spec"));
    const cJSON *hidden = secret && cJSON_IsObject(member(object, "data")) ? member(object, "data") : NULL;
    cJSON_ArrayForEach(each, hidden)
        printf("  %s: %zu bytes of base64\n", each->string,
               cJSON_GetStringValue(each) ? strlen(each->valuestring) : (size_t)0);
    if (!secret)
        print_part("Data:", member(object, "data"));
    print_conditions(member(member(object, "status"), "conditions"));
    print_events(events);
}

/* Events of the object; NULL: the server has none to tell. The caller's. */
static cJSON *events_of(struct client *cl, const struct invocation *in, const struct kind *k, const cJSON *object)
{
    const cJSON *metadata = member(object, "metadata");
    const struct kind *events = kind_find("v1", "Event");
    char selector[1024];
    struct buf url;
    int status;
    if (!events)
        return NULL;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), events, k->namespaced ? text_of(metadata, "namespace") : "default", NULL);
    if (url.len)
        url.len--; /* its end */
    snprintf(selector, sizeof selector, "involvedObject.name=%s,involvedObject.kind=%s,involvedObject.uid=%s",
             text_of(metadata, "name"), k->kind, text_of(metadata, "uid"));
    url_put_query(&url, "fieldSelector", slice_str(selector));
    buf_put_char(&url, '\0');
    cJSON *tree = buf_error(&url) == OK ? api_send(cl, "GET", url.ptr, NULL, &status) : NULL,
          *items = cJSON_DetachItemFromObjectCaseSensitive(tree, "items");
    cJSON_Delete(tree);
    buf_fini(&url);
    return items;
}

static int show(struct client *cl, const struct invocation *in, const struct kind *k, cJSON *object, bool json)
{
    cJSON *events = events_of(cl, in, k, object);
    if (!json) {
        print_all(k, object, events);
        cJSON_Delete(events);
        return EXIT_CODE_OK;
    }
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddItemReferenceToObject(whole, "object", object);
    cJSON_AddItemToObject(whole, "events", events ? events : cJSON_CreateArray());
    print_tree(whole, OUTPUT_JSON);
    cJSON_Delete(whole);
    return EXIT_CODE_OK;
}

static int run(const struct invocation *in)
{
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status, code = EXIT_CODE_FAILED;
    bool json;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (!parse_object(in, &kind, &name))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, namespace_of(in), name);
    cJSON *object = api_send(cl, "GET", url.ptr, NULL, &status);
    if (object)
        code = show(cl, in, kind, object, json);
    else if (status == 404)
        fail(in->command, code, "there is no %s '%s' in the namespace %s.", kind->singular, name, namespace_of(in));
    cJSON_Delete(object);
    buf_fini(&url);
    client_free(cl);
    return code;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"output", 'o', "text|json", "json: the object and its events. Default: text.", false},
    {0},
};

const struct command command_describe = {
    .name = "describe",
    .summary = "Show one resource with its conditions and what happened to it",
    .operands = "KIND/NAME",
    .operand_max = 2,
    .text = "What is in a Secret is not shown.",
    .examples = "  leat describe channel/orders\n  leat describe trigger big -n shop -o json",
    .options = options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run,
};
