/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat doctor`: one page about this machine, the data directory and the server, each line with its remedy.
 */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "chosen_dir.h"

#define LINES_MAX (1u << 20)

void doctor_say(struct doctor *k, enum verdict v, const char *check, const char *remedy, const char *format, ...)
{
    static const char *const words[] = {"pass", "warn", "fail"}, *const colours[] = {"\033[32m", "\033[33m",
                                                                                     "\033[31m"};
    char text[1024], name[300];
    va_list args;
    snprintf(name, sizeof name, "%s%s%s", check, k->about ? " " : "", k->about ? k->about : "");
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    k->counts[v]++;
    if (k->json) {
        buf_printf(&k->lines, "%s{\"verdict\":\"%s\",\"check\":", k->lines.len ? "," : "", words[v]);
        buf_put_json_string(&k->lines, slice_str(name));
        buf_put_str(&k->lines, ",\"text\":");
        buf_put_json_string(&k->lines, slice_str(text));
        buf_put_str(&k->lines, ",\"remedy\":");
        if (remedy)
            buf_put_json_string(&k->lines, slice_str(remedy));
        else
            buf_put_str(&k->lines, "null");
        buf_put_char(&k->lines, '}');
        return;
    }
    const bool colour = colours_on(STDOUT_FILENO);
    printf("%s%s%s  %-16s %s\n", colour ? colours[v] : "", words[v], colour ? "\033[0m" : "", name, text);
    if (remedy)
        printf("%24s%s\n", "-> ", remedy);
    fflush(stdout); /* the next check may take a while */
}

static int print_json(const struct invocation *in, struct doctor *k)
{
    if (buf_error(&k->lines) != OK)
        return fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    printf("{\"pass\":%u,\"warn\":%u,\"fail\":%u,\"checks\":[%.*s]}\n", k->counts[VERDICT_PASS],
           k->counts[VERDICT_WARN], k->counts[VERDICT_FAIL], SLICE_ARG(buf_slice(&k->lines)));
    return EXIT_CODE_OK;
}

static int run(const struct invocation *in)
{
    struct doctor k = {.in = in};
    int code = EXIT_CODE_OK;
    if (!wants_json(in, &k.json))
        return EXIT_CODE_USAGE;
    k.data_dir = chosen_dir(in->command, option_value(in, "data-dir", NULL));
    if (!k.data_dir)
        return EXIT_CODE_USAGE;
    buf_init(&k.lines, LINES_MAX);
    doctor_data(&k);
    doctor_log(&k);
    doctor_machine(&k);
    doctor_server(&k);
    if (k.json)
        code = print_json(in, &k);
    else
        printf("\n%u pass, %u warn, %u fail\n", k.counts[VERDICT_PASS], k.counts[VERDICT_WARN], k.counts[VERDICT_FAIL]);
    if (k.counts[VERDICT_FAIL])
        code = EXIT_CODE_FAILED;
    buf_fini(&k.lines);
    free(k.data_dir);
    return code;
}

static const struct option_spec options[] = {
    {"data-dir", 0, "DIR", DATA_DIR_HELP, false},
    SERVER_OPTIONS,
    {"output", 'o', "FORM", "text or json. Default: text.", false},
    {0},
};

const struct command command_doctor = {
    .name = "doctor",
    .summary = "Check the data directory, the disk, the machine and the server, and say what to do",
    .operands = "",
    .text =
        "One line for each check: pass, warn (it works, and will not for ever) or fail (it does not work), with the\n"
        "remedy. Exits with 1 when something fails. It writes nothing but a file of 4 MiB in the data directory for\n"
        "half a second, to see how long an fdatasync takes. A server may be running, or none.",
    .examples = "  leat doctor\n  leat doctor --data-dir /var/lib/leat --server http://127.0.0.1:8001 -o json",
    .options = options,
    .run = run,
};
