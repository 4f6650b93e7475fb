/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP-date (RFC 9110 section 5.6.7): the form in use and the two obsolete ones that a recipient must still read. Pure.
 */
#ifndef LEAT_CLIENTS_HTTP_DATE_H
#define LEAT_CLIENTS_HTTP_DATE_H

#include "err.h"
#include "slice.h"

/* "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994": nanoseconds since
 * 1970. ERR_INVALID otherwise. The name of the weekday is not held against the date. */
enum err http_date_parse(struct slice text, int64_t *wall_ns) must_check;

#endif
