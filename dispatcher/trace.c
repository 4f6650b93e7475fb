/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace of one loop.
 */
#include "trace.h"

void trace_event(struct trace *t, const struct ce_event *e, uint32_t channel, uint64_t request,
                 const struct ce_event *cause)
{
    (void)t, (void)e, (void)channel, (void)request, (void)cause;
}

void trace_attempt(struct trace *t, const struct ce_event *e, uint32_t subscription, const struct trace_attempt *a)
{
    (void)t, (void)e, (void)subscription, (void)a;
}

void trace_ended(struct trace *t, const struct ce_event *e, uint32_t subscription, enum trace_end how)
{
    (void)t, (void)e, (void)subscription, (void)how;
}
