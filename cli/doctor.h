/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of `leat doctor` share. A part looks at one thing and says one line for each check: pass, warn (it
 * works, and will not for ever) or fail (it does not work now), with the remedy.
 */
#ifndef LEAT_CLI_DOCTOR_H
#define LEAT_CLI_DOCTOR_H

#include "buf.h"
#include "command.h"

enum verdict { VERDICT_PASS, VERDICT_WARN, VERDICT_FAIL, VERDICTS };

struct doctor {
    const struct invocation *in;
    char *data_dir;  /* owned */
    bool data_found; /* it is there, and its format is one that this program knows */
    int pid;         /* of the server that uses it; 0: none; -1: some */
    bool json;
    const char *about; /* put behind each check's name: which of several; NULL: there is one */
    unsigned counts[VERDICTS];
    struct buf lines; /* JSON */
};

/* One line. `remedy`: a sentence without its end; NULL: nothing to be done. */
void doctor_say(struct doctor *k, enum verdict v, const char *check, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

void doctor_data(struct doctor *k);    /* directory, disk, resources.db */
void doctor_log(struct doctor *k);     /* the log in it */
void doctor_machine(struct doctor *k); /* clock, limits */
void doctor_server(struct doctor *k);  /* the API, and what the server says of itself */

#endif
