/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat get quarantined`, `leat delete quarantined/ID`: stored objects that are not valid, of all kinds, and of kinds
 * that this program does not have.
 */
#include "quarantine.h"

#include <stdio.h>
#include <string.h>

bool is_quarantined_word(const char *operand)
{
    size_t n = strcspn(operand, "/");
    return n == strlen(QUARANTINED) && strncmp(operand, QUARANTINED, n) == 0;
}

static const char *text_of(const cJSON *item, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, name));
    return text ? text : "";
}

static void print_items(const cJSON *items)
{
    const cJSON *each;
    printf("%-6s  %-40s  %-40s  %s\n", "ID", "KIND", "NAME", "REASON");
    cJSON_ArrayForEach(each, items) {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(each, "id");
        char number[24] = "-", kind[200], name[400];
        const char *ns = text_of(each, "namespace"), *group = text_of(each, "apiGroup");
        if (cJSON_IsNumber(id))
            snprintf(number, sizeof number, "%.0f", id->valuedouble);
        snprintf(kind, sizeof kind, "%s%s%s", text_of(each, "kind"), *group ? "." : "", group);
        snprintf(name, sizeof name, "%s%s%s", ns, *ns ? "/" : "", text_of(each, "name"));
        printf("%-6s  %-40s  %-40s  %s\n", number, kind, name, text_of(each, "reason"));
    }
}

int quarantine_get(const struct invocation *in, enum output form)
{
    struct buf url;
    int status;
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    buf_printf(&url, "%s/leat/v1/quarantine", server_url(in));
    buf_put_char(&url, 0);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(tree, "items");
    if (tree && form != OUTPUT_TABLE)
        print_tree(tree, form);
    else if (tree && cJSON_GetArraySize(items) == 0)
        fprintf(stderr, "Nothing is in quarantine.\n");
    else if (tree)
        print_items(items);
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int quarantine_delete(const struct invocation *in)
{
    const char *id = in->operand_count > 1 ? in->operands[1] : strchr(in->operands[0], '/');
    struct buf url;
    int status;
    if (!id || strlen(id) < 2 - (size_t)(in->operand_count > 1))
        return usage_error(in->command, "say which one: " QUARANTINED "/ID. Those without an ID are deleted as what "
                                        "they are: KIND/NAME.");
    id += *id == '/';
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    buf_printf(&url, "%s/leat/v1/quarantine/", server_url(in));
    url_put_segment(&url, id);
    buf_put_char(&url, 0);
    cJSON *tree = api_send(cl, "DELETE", url.ptr, NULL, &status);
    if (tree)
        printf(QUARANTINED "/%s deleted\n", id);
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}
