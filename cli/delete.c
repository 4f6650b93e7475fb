/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat delete`: takes one resource away from a running server.
 */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "quarantine.h"

static int run_delete(const struct invocation *in)
{
    const struct kind *kind;
    const char *name;
    struct buf url;
    int status;
    if (in->operand_count > 0 && is_quarantined_word(in->operands[0]))
        return quarantine_delete(in);
    if (!parse_object(in, &kind, &name))
        return EXIT_CODE_USAGE;
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), kind, namespace_of(in), name);
    cJSON *tree = api_send(cl, "DELETE", url.ptr, NULL, &status);
    if (tree)
        printf("%s%s%s/%s deleted\n", kind->singular, kind->group[0] ? "." : "", kind->group, name);
    int code = tree ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    cJSON_Delete(tree);
    buf_fini(&url);
    client_free(cl);
    return code;
}

static const struct option_spec delete_options[] = {CLIENT_OPTIONS, {0}};

const struct command command_delete = {
    .name = "delete",
    .summary = "Take a resource away from a running server",
    .operands = "KIND/NAME",
    .operand_max = 2,
    .text = "Events that wait for a deleted subscription are gone with it, unless its annotation leat.dev/keep-cursor\n"
            "is true; parked ones stay until they are discarded (`leat dlq`).",
    .examples = "  leat delete subscription/orders-to-billing",
    .options = delete_options,
    .uses_kinds = true,
    .run = run_delete,
};
