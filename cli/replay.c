/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat replay`: events that a channel still keeps, delivered again to one subscription.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"

/* The order's JSON; false (said) when the command line is wrong. */
static bool put_order(struct buf *out, const struct invocation *in)
{
    const char *rate = option_value(in, "rate", NULL), *from = option_value(in, "from", NULL);
    double number;
    if (!from) {
        usage_error(in->command, "say from where: --from with a time, an offset, or earliest.");
        return false;
    }
    if (rate && !rate_read(in, rate, &number))
        return false;
    buf_printf(out, "{\"dryRun\":%s,\"parked\":%s", option_given(in, "dry-run") ? "true" : "false",
               option_given(in, "parked") ? "true" : "false");
    put_member(out, "from", from);
    put_member(out, "to", option_value(in, "to", NULL));
    put_member(out, "filter", option_value(in, "filter", NULL));
    if (rate)
        buf_printf(out, ",\"rate\":%.17g", number);
    buf_put_char(out, '}');
    return true;
}

static int run_replay(const struct invocation *in)
{
    return ask_order(in, "/leat/v1/subscriptions/", "say to whom", "/replay", put_order);
}

const struct command command_replay = {
    .name = "replay",
    .summary = "Deliver events that a channel still keeps again, to one subscription",
    .operands = "KIND/NAME",
    .operand_max = 1,
    .text =
        "Nobody else gets them, the subscription's own filter counts, and so do its rate, order, retries and dead\n"
        "letter sink. Only what the channel has when it begins is replayed; where the subscription stands is not\n"
        "changed. Of a Sequence or Parallel name a part: sequence/orders/steps/0. Ctrl-C leaves the replay running\n"
        "in the server: `leat task cancel` stops it, and says from where it can go on.\n\n"
        "TIME is one of RFC 3339, or a duration ago (2h, PT30M). OFFSET is a number that the bus gave the\n"
        "event: --dry-run shows them. Both ends count.",
    .examples = "  leat replay subscription/orders --from 2h --dry-run\n"
                "  leat replay trigger/big --from 2026-11-24T08:00:00Z --to 2026-11-24T09:00:00Z --rate 100\n"
                "  leat replay subscription/orders --from earliest --filter \"type LIKE 'order.%'\" --no-wait",
    .options =
        (const struct option_spec[]){
            CLIENT_OPTIONS,
            {"from", 0, "TIME|OFFSET", "Where it begins; or earliest: with the oldest event that is kept.", false},
            {"to", 0, "TIME|OFFSET", "Where it ends. Default: with the newest event at the beginning.", false},
            {"filter", 0, "EXPR", "Only events that match too: CESQL, or a Trigger's filters in JSON.", false},
            {"rate", 0, "N", "At most so many a second. Default: no limit.", false},
            {"parked", 0, NULL, "Of what was ever parked for it, also what was redriven or discarded since.", false},
            {"dry-run", 0, NULL, "Count and show the first ones; deliver nothing.", false},
            {"no-wait", 0, NULL, "Print the number of the task and do not wait.", false},
            {0}},
    .run = run_replay,
};
