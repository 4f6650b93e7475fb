/* SPDX-License-Identifier: Apache-2.0
 *
 * What the annotations leat.dev/... may say. Pure.
 */
#include "annotations.h"

#include "check.h"
#include "text.h"

static const char *const names[] = {ANNOTATION_CAPACITY,   ANNOTATION_OVERFLOW, ANNOTATION_IN_FLIGHT,
                                    ANNOTATION_START_FROM, ANNOTATION_RETRY,    ANNOTATION_ALLOW_UNSIGNED};

static enum err one_of(const char *value, const char *a, const char *b, struct diag *d)
{
    if (strcmp(value, a) == 0 || strcmp(value, b) == 0)
        return OK;
    return diag_set(d, ERR_INVALID, "must be %s or %s (it is \"%.60s\")", a, b, value);
}

enum err annotation_check(const char *name, const char *value, struct diag *d)
{
    uint64_t number;
    struct diag why = {0};
    if (strncmp(name, ANNOTATION_PREFIX, strlen(ANNOTATION_PREFIX)) != 0)
        return OK;
    if (strcmp(name, ANNOTATION_CAPACITY) == 0)
        return bytes_parse(slice_str(value), &number, &why) == OK && number > 0
                   ? OK
                   : diag_set(d, ERR_INVALID, "must be a number of bytes such as 64MiB: %.200s",
                              why.text[0] ? why.text : "zero");
    if (strcmp(name, ANNOTATION_IN_FLIGHT) == 0)
        return decimal_parse(slice_str(value), 10000, &number) == OK && number > 0
                   ? OK
                   : diag_set(d, ERR_INVALID, "must be a whole number from 1 to 10000 (it is \"%.60s\")", value);
    if (strcmp(name, ANNOTATION_RETRY) == 0)
        return decimal_parse(slice_str(value), 1000, &number) == OK
                   ? OK
                   : diag_set(d, ERR_INVALID, "must be a whole number from 0 to 1000 (it is \"%.60s\")", value);
    if (strcmp(name, ANNOTATION_OVERFLOW) == 0)
        return one_of(value, "refuse", "drop-oldest", d);
    if (strcmp(name, ANNOTATION_START_FROM) == 0)
        return one_of(value, "latest", "earliest", d);
    if (strcmp(name, ANNOTATION_ALLOW_UNSIGNED) == 0)
        return one_of(value, "true", "false", d);
    const char *near = word_near(name, names, sizeof names / sizeof names[0]);
    if (near)
        return diag_set(d, ERR_INVALID, "there is no such annotation; did you mean %s?", near);
    return diag_set(d, ERR_INVALID,
                    "there is no such annotation; leat has " ANNOTATION_CAPACITY ", " ANNOTATION_OVERFLOW
                    ", " ANNOTATION_IN_FLIGHT ", " ANNOTATION_START_FROM ", " ANNOTATION_RETRY
                    " and " ANNOTATION_ALLOW_UNSIGNED);
}
