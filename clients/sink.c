/* SPDX-License-Identifier: Apache-2.0
 *
 * What every sender needs to know of an answer, whatever kind of sink gave it. Pure.
 */
#include "sink.h"

#include <assert.h>

bool sink_retryable(enum err err, int status)
{
    assert(status >= 0);
    if (status > 0 && (status < 200 || status >= 300))
        return status == 404 || status == 408 || status == 409 || status == 429 || status >= 500;
    switch (err) {
    case OK:              /* a success, or a reply that breaks the rules: the same request brings the same answer */
    case ERR_INVALID:     /* the sink cannot express this event, ever */
    case ERR_TOO_LARGE:   /* as 413 */
    case ERR_DENIED:      /* as 401 and 403 */
    case ERR_UNSUPPORTED: /* as 415 */
        return false;
    default:
        return true;
    }
}
