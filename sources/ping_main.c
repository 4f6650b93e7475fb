/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat source ping`: the clock alone.
 */
#include "ping.h"

#include "runner.h"

static const struct runner_option options[] = {
    {"schedule", "LINE", false, "schedule", "SCHEDULE",
     "A cron line: [SECOND] MINUTE HOUR DAY MONTH WEEKDAY, or @hourly, @daily ... Default: '* * * * *'."},
    {"timezone", "ZONE", false, "timezone", "TIMEZONE", "Europe/Berlin, UTC ... Default: the system's."},
    {"data", "TEXT", false, "data", "DATA", "The event's data. Default: none."},
    {"data-base64", "TEXT", false, "dataBase64", "DATA_BASE64", "The same as base64, for bytes that are no text."},
    {"content-type", "TYPE", false, "contentType", "CONTENT_TYPE", "The data's media type."},
    {NULL, NULL, false, NULL, NULL, NULL}};

static const struct runner_program program = {
    .ops = &ping_source,
    .options = options,
    .keeps_place = true,
    .summary =
        "Posts a CloudEvent to the sink at the times of a schedule. What the sink does not take is tried again "
        "until it does; times that pass while the program is stopped are told of (with --state), and not made up for.",
    .examples =
        "  K_SINK=http://127.0.0.1:9000/ leat source ping --schedule '0 9 * * mon-fri' --timezone Europe/Berlin "
        "--data 'good morning'\n"
        "  leat source ping --sink http://127.0.0.1:9000/ --schedule '*/10 * * * * *' --content-type "
        "application/json --data '{\"beat\":true}'\n",
};

int ping_main(int argc, char **argv)
{
    return runner_main(&program, argc, argv);
}
