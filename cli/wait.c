/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat wait`: until resources of a running server are as they should be, or the time is over.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "text.h"

#define TEXT_MAX 512

struct wish { /* what --for says */
    enum { FOR_CONDITION, FOR_DELETE, FOR_CREATE, FOR_PATH } of;
    char name[TEXT_MAX];  /* of a condition, or a path */
    char value[TEXT_MAX]; /* that it is to have; "" of a path: any */
};

static bool copy(char out[TEXT_MAX], const char *text, size_t n)
{
    if (n >= TEXT_MAX)
        return false;
    memcpy(out, text, n);
    out[n] = '\0';
    return true;
}

/* "condition=NAME[=VALUE]", "jsonpath={.a.b}[=VALUE]", "delete", "create" */
static bool read_wish(const char *text, struct wish *w)
{
    const char *is, *end;
    *w = (struct wish){.of = strcmp(text, "delete") == 0 ? FOR_DELETE : FOR_CREATE};
    if (w->of == FOR_DELETE || strcmp(text, "create") == 0)
        return true;
    if (strncmp(text, "condition=", 10) == 0) {
        text += 10;
        is = strchr(text, '=');
        w->of = FOR_CONDITION;
        return *text && *text != '=' && copy(w->name, text, is ? (size_t)(is - text) : strlen(text)) &&
               copy(w->value, is ? is + 1 : "True", strlen(is ? is + 1 : "True"));
    }
    if (strncmp(text, "jsonpath=", 9) != 0)
        return false;
    text += 9;
    w->of = FOR_PATH;
    end = *text == '\'' ? NULL : strchr(text, '}');
    if (*text != '{' || !end)
        return false;
    is = end[1] == '=' ? end + 2 : end[1] == '\0' ? "" : NULL;
    return is && text[1] == '.' && copy(w->name, text + 1, (size_t)(end - text - 1)) && copy(w->value, is, strlen(is));
}

static const cJSON *condition(const cJSON *object, const char *type)
{
    const cJSON *each,
        *list = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "status"), "conditions");
    cJSON_ArrayForEach(each, list) {
        const char *t = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(each, "type"));
        if (t && strcasecmp(t, type) == 0)
            return each;
    }
    return NULL;
}

static const char *text_in(const cJSON *o, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
    return text ? text : "";
}

static bool has_value(const cJSON *v, const char *wanted)
{
    char text[64];
    if (!v || !*wanted)
        return v != NULL;
    if (cJSON_IsString(v))
        return strcmp(v->valuestring, wanted) == 0;
    if (cJSON_IsNumber(v))
        snprintf(text, sizeof text, "%.15g", v->valuedouble);
    else if (cJSON_IsBool(v))
        snprintf(text, sizeof text, "%s", cJSON_IsTrue(v) ? "true" : "false");
    else
        return false;
    return strcmp(text, wanted) == 0;
}

/* Whether the object (NULL: there is none) is as it should be; what it is instead into `why`. */
static bool is_met(const struct wish *w, const cJSON *object, char *why, size_t size)
{
    const cJSON *c;
    snprintf(why, size, "it is there");
    if (w->of == FOR_DELETE)
        return !object;
    snprintf(why, size, "it is not there");
    if (!object || w->of == FOR_CREATE)
        return object;
    if (w->of == FOR_PATH) {
        snprintf(why, size, "%s is not %s", w->name, *w->value ? w->value : "there");
        return has_value(json_path(object, w->name), w->value);
    }
    c = condition(object, w->name);
    snprintf(why, size, c ? "%s is %s%s%s%s%s" : "it has no condition %s", w->name, text_in(c, "status"),
             *text_in(c, "reason") ? " (" : "", text_in(c, "reason"), *text_in(c, "reason") ? "): " : "",
             text_in(c, "message"));
    return c && strcasecmp(text_in(c, "status"), w->value) == 0;
}

static void print_words(const struct kind *k, const char *name, const char *what)
{
    printf("%s%s%s/%s %s\n", k->singular, k->group[0] ? "." : "", k->group, name, what);
}

/* One of them; the exit code. Asks again until the patience of the client is over. */
static int wait_for(struct client *cl, const struct invocation *in, const struct wish *w, const struct kind *k,
                    const char *name, bool json)
{
    struct buf url;
    char why[2 * TEXT_MAX + 64];
    int code = EXIT_CODE_FAILED;
    bool met = false, failed = false, gone = false;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), k, namespace_of(in), name);
    do {
        int status;
        cJSON *object = api_send(cl, "GET", url.ptr, NULL, &status);
        failed = !object && status != 404; /* said */
        gone = !object && !failed && w->of != FOR_DELETE && w->of != FOR_CREATE;
        met = !failed && is_met(w, object, why, sizeof why);
        if (met && json && object)
            print_tree(object, OUTPUT_JSON);
        cJSON_Delete(object);
    } while (!met && !failed && !gone && client_wait(cl));
    buf_fini(&url);
    if (met && !json)
        print_words(k, name, w->of == FOR_DELETE ? "deleted" : w->of == FOR_CREATE ? "created" : "condition met");
    if (met)
        code = EXIT_CODE_OK;
    else if (gone)
        fail(in->command, code, "there is no %s '%s' in the namespace %s; --for create waits for it.", k->singular,
             name, namespace_of(in));
    else if (!failed)
        fail(in->command, code, "the time is over, and %s/%s is not as it should be: %s.", k->plural, name, why);
    return code;
}

/* "KIND/NAME"; false (said) when it is none. */
static bool read_reference(const struct invocation *in, size_t i, const struct kind **kind, const char **name)
{
    char word[256];
    const char *operand = in->operands[i], *slash = strchr(operand, '/');
    size_t n = slash ? (size_t)(slash - operand) : strlen(operand);
    *name = slash ? slash + 1 : "";
    if (!**name) {
        usage_error(in->command, "'%s' does not say which one: KIND/NAME.", operand);
        return false;
    }
    snprintf(word, sizeof word, "%.*s", n < sizeof word ? (int)n : 0, operand);
    *kind = kind_by_word(word);
    if (!*kind)
        fail(in->command, EXIT_CODE_USAGE, "there is no kind '%.*s'. `leat get` without a kind lists them.", (int)n,
             operand);
    return *kind;
}

static int run(const struct invocation *in)
{
    struct wish w;
    struct diag d = {0};
    uint64_t ns;
    bool json;
    const char *wish = option_value(in, "for", "condition=Ready"), *time = option_value(in, "timeout", "30s");
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (in->operand_count == 0)
        return usage_error(in->command, "say for what: KIND/NAME.");
    if (!read_wish(wish, &w))
        return usage_error(in->command,
                           "--for: '%s' is none of condition=NAME, condition=NAME=VALUE, delete, create, "
                           "jsonpath={.PATH} and jsonpath={.PATH}=VALUE.",
                           wish);
    if (duration_parse(slice_str(time), &ns, &d) != OK)
        return usage_error(in->command, "--timeout: %s", d.text);
    const struct kind *kind;
    const char *name;
    for (size_t i = 0; i < in->operand_count; i++)
        if (!read_reference(in, i, &kind, &name))
            return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    int code = cl ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    if (cl)
        client_be_patient(cl, ns);
    for (size_t i = 0; cl && i < in->operand_count; i++)
        if (read_reference(in, i, &kind, &name) && wait_for(cl, in, &w, kind, name, json) != EXIT_CODE_OK)
            code = EXIT_CODE_FAILED;
    client_free(cl);
    return code;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"for", 0, "WHAT",
     "condition=NAME, condition=NAME=VALUE, delete, create, jsonpath={.PATH}, "
     "jsonpath={.PATH}=VALUE. Default: condition=Ready.",
     false},
    {"timeout", 0, "DURATION", "How long, for all of them together; 0s looks once. Default: 30s.", false},
    {"output", 'o', "text|json", "json: the object as it then is. Default: text.", false},
    {0},
};

const struct command command_wait = {
    .name = "wait",
    .summary = "Wait until resources are ready, or gone, or as they should be",
    .operands = "KIND/NAME...",
    .operand_max = SIZE_MAX,
    .text =
        "Exit code 1 when the time is over first, with what is missing. A server that does not answer yet is waited "
        "for as well.",
    .examples = "  leat wait channel/orders subscription/billing\n"
                "  leat wait trigger/big --for condition=Ready=False --timeout 5s\n"
                "  leat wait broker/shop --for delete\n"
                "  leat wait channel/orders --for 'jsonpath={.status.address.url}'",
    .options = options,
    .uses_kinds = true,
    .word = kind_word,
    .run = run,
};
