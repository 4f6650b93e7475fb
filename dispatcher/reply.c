/* SPDX-License-Identifier: Apache-2.0
 *
 * What a subscriber's success means for the reply. Pure.
 *
 *     202 with whatever                       no reply: the specification says that a 202 never is one
 *     other 2xx, empty or plain               nothing to pass on
 *     other 2xx, one valid CloudEvent         the reply
 *     other 2xx, a body that is no CloudEvent must_be_event (Broker): failed; else (Channel): ignored and counted
 */
#include <assert.h>

#include "flight.h"

enum reply_verdict reply_judge(const struct sink_answer *answer, bool must_be_event)
{
    assert(answer->err == OK && answer->status >= 200 && answer->status < 300);
    if (answer->status == 202)
        return answer->reply || answer->reply_malformed ? REPLY_IGNORED : REPLY_NONE;
    if (answer->reply) {
        assert(!answer->reply_malformed);
        return REPLY_FORWARD;
    }
    if (answer->reply_malformed)
        return must_be_event ? REPLY_BROKEN : REPLY_IGNORED;
    return REPLY_NONE;
}
