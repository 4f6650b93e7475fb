/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat validate`: says everything that is wrong in manifests, each with its place, and runs nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "command.h"
#include "resource.h"

static const struct option_spec options[] = {
    {"output", 'o', "text|json", "Default: text.", false},
    {"deny-warnings", 0, NULL, "Exit with 3 on warnings too.", false},
    {0},
};

static void put_json(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    if (value)
        buf_put_json_string(out, slice_str(value));
    else
        buf_put_str(out, "null");
}

static void print_json(const struct problems *p, size_t objects)
{
    struct buf out;
    buf_init(&out, 64u << 20);
    buf_printf(&out, "{\"objects\":%zu,\"errors\":%zu,\"warnings\":%zu,\"problems\":[", objects, p->errors,
               p->count - p->errors);
    for (size_t i = 0; i < p->count; i++) {
        const struct problem *q = &p->list[i];
        buf_printf(&out, "%s{\"severity\":\"%s\",\"line\":%d,\"column\":%d", i ? "," : "",
                   q->warning ? "warning" : "error", q->line, q->column);
        put_json(&out, "file", q->file);
        put_json(&out, "object", q->object);
        put_json(&out, "path", q->path);
        put_json(&out, "text", q->text);
        buf_put_char(&out, '}');
    }
    buf_put_str(&out, "]}\n");
    fwrite(out.ptr, 1, out.len, stdout);
    buf_fini(&out);
}

static void print_text(const struct problems *p, size_t objects)
{
    problems_print(p, stderr);
    printf("%zu objects, %zu errors, %zu warnings\n", objects, p->errors, p->count - p->errors);
}

static int run(const struct invocation *in)
{
    bool json;
    struct problems problems;
    struct manifest *m = NULL;
    if (!wants_json(in, &json))
        return EXIT_CODE_USAGE;
    if (in->operand_count == 0)
        return usage_error(in->command, "name a file or folder of manifests, or - for standard input.");
    problems_init(&problems);
    int code = EXIT_CODE_OK;
    if (manifest_load(in->operands, in->operand_count, NULL, &m, &problems) != OK)
        code = fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    else
        (json ? print_json : print_text)(&problems, manifest_count(m));
    if (code == EXIT_CODE_OK && (problems.errors > 0 || (problems.count > 0 && option_given(in, "deny-warnings"))))
        code = EXIT_CODE_INPUT;
    manifest_free(m);
    problems_fini(&problems);
    return code;
}

const struct command command_validate = {
    .name = "validate",
    .summary = "Say everything that is wrong in manifests",
    .operands = "PATH...",
    .operand_max = SIZE_MAX,
    .text = "Each problem is one line, FILE:LINE:COLUMN: what is wrong and where in the object. Exits with 3 when "
            "there are errors.",
    .examples = "  leat validate examples/github-to-service\n  cat channel.yaml | leat validate -",
    .options = options,
    .uses_kinds = true,
    .run = run,
};
