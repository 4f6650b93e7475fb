/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging: one line per happening on standard error: time, level, "component.verb", then key=value in the order given.
 * Only broker/, dispatcher/, source runners and cli/ log. Never per delivery at info. Any thread; a line is written
 * whole.
 */
#ifndef LEAT_LOG_H
#define LEAT_LOG_H

#include <stdbool.h>

#include "clock.h"

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

/* Before threads start. `json`: one JSON object a line, not text; `colour`: ANSI colours for the level (text only). */
void log_setup(const struct clock *clock, enum log_level least, bool json, bool colour);
/* Lines go to this descriptor instead of standard error. */
void log_set_fd(int fd);

/* `what` is "component.verb"; then pairs: name, printf-format, arguments ... are given as one format string of
 * key=value pairs:
 *     log_line(LOG_WARN, "sink.fail", "sink=%s status=%d", url, status);
 * Values with spaces, quotes or control characters are quoted and escaped: use log_value for text of strangers, without
 * which " name=" inside it would read as the next pair. */
void log_line(enum log_level level, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Text made safe for one log value: quoted and escaped when needed (also where it looks like a number, so that a JSON
 * line keeps it a string; bare numbers become numbers), cut at 400 bytes. Valid until the eighth next call on this
 * thread. */
const char *log_value(const char *text);

#endif
