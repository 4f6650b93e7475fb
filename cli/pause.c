/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat pause` and `leat resume`: hold deliveries back, and let them go on.
 */
#include <stdio.h>

#include "ask.h"

static int one(const struct invocation *in, struct client *cl, size_t operand, const char *verb, const char *done)
{
    struct client_answer answer;
    struct json_value json;
    struct buf url;
    int code = EXIT_CODE_USAGE;
    ask_url(&url, in, "/leat/v1/subscriptions/");
    if (ask_url_put_target(&url, in, operand, "say what")) {
        buf_put_str(&url, verb);
        code = EXIT_CODE_FAILED;
        if (ask(cl, in, "POST", &url, (struct slice){0}, &answer, &json)) {
            printf("%s %s\n", in->operands[operand], done);
            buf_fini(&answer.body);
            code = EXIT_CODE_OK;
        }
    }
    buf_fini(&url);
    return code;
}

/* All of them, also after one that did not work: in an emergency the others count. */
static int each(const struct invocation *in, const char *verb, const char *done)
{
    struct client *cl = client_new(in);
    int worst = cl ? EXIT_CODE_OK : EXIT_CODE_FAILED;
    for (size_t i = 0; cl && (i == 0 || i < in->operand_count); i++) {
        int code = one(in, cl, i, verb, done);
        worst = code > worst ? code : worst;
    }
    client_free(cl);
    return worst;
}

static int run_pause(const struct invocation *in)
{
    return each(in, "/pause", "paused");
}

static int run_resume(const struct invocation *in)
{
    return each(in, "/resume", "resumed");
}

static const struct option_spec pause_options[] = {CLIENT_OPTIONS, {0}};

const struct command command_pause = {
    .name = "pause",
    .summary = "Hold deliveries back; the events are kept",
    .operands = "KIND/NAME...",
    .operand_max = SIZE_MAX,
    .text =
        "What is under way is finished, and nothing further is sent until `leat resume`, also after a restart on a\n"
        "data directory. Of a Channel or Broker this counts for all of its subscriptions. An object that a file owns\n"
        "can be paused too: the file stays as it is.",
    .examples = "  leat pause subscription/orders\n  leat pause trigger/big trigger/small -n shop",
    .options = pause_options,
    .run = run_pause,
};

const struct command command_resume = {
    .name = "resume",
    .summary = "Let deliveries go on that were paused",
    .operands = "KIND/NAME...",
    .operand_max = SIZE_MAX,
    .text =
        "What was kept meanwhile is delivered. One that its annotation leat.dev/paused holds back goes on when that\n"
        "is changed.",
    .examples = "  leat resume subscription/orders\n  leat resume channel/orders -n shop",
    .options = pause_options,
    .run = run_resume,
};
