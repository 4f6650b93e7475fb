/* SPDX-License-Identifier: Apache-2.0
 *
 * How long to wait before a retry, and whether there is to be one. Pure but for the randomness handed in.
 *
 *     before retry n = 1, 2 ...     linear d * n        exponential d * 2^(n-1)
 *     then the cap, then jitter to both sides, then the cap again: no wait is ever above it
 *     a Retry-After (429, 503) only ever lengthens the wait, up to retry_after_max, and may pass the cap: both are
 *     the user's word
 */
#include <assert.h>

#include "flight.h"

_Static_assert(sizeof(((struct retry_on *)NULL)->codes) * 8 == 640, "a bit for each status");

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t jittered(uint64_t wait, unsigned percent, struct prng *prng)
{
    assert(percent <= 100);
    uint64_t span = wait / 100 * percent + wait % 100 * percent / 100;
    if (span == 0)
        return wait;
    assert(span <= wait);
    uint64_t low = wait - span;
    uint64_t add = span > (UINT64_MAX - 1) / 2 ? prng_next(prng) : prng_below(prng, 2 * span + 1);
    return add > UINT64_MAX - low ? UINT64_MAX : low + add;
}

uint64_t backoff_wait_ns(const struct delivery *d, unsigned n, struct prng *prng)
{
    assert(n > 0);
    uint64_t delay = d->backoff_delay_ns ? d->backoff_delay_ns : DISPATCH_BACKOFF_DELAY_NS;
    uint64_t cap = d->backoff_max_ns ? d->backoff_max_ns : DISPATCH_BACKOFF_MAX_NS;
    uint64_t wait;
    if (d->backoff_policy == BACKOFF_LINEAR)
        wait = delay > cap / n ? cap : delay * n;
    else
        wait = n > 64 || delay > cap >> (n - 1) ? cap : delay << (n - 1);
    if (prng && d->jitter_percent)
        wait = jittered(wait, d->jitter_percent < 100 ? d->jitter_percent : 100, prng);
    return least(wait, cap);
}

uint64_t retry_wait_ns(const struct delivery *d, unsigned n, const struct sink_answer *answer, struct prng *prng)
{
    uint64_t wait = backoff_wait_ns(d, n, prng);
    if (answer->status != 429 && answer->status != 503)
        return wait;
    uint64_t asked = least(answer->retry_after_ns, d->retry_after_max_ns);
    return asked > wait ? asked : wait;
}

bool retry_wanted(const struct retry_on *on, enum err err, int status)
{
    if (!on->given)
        return sink_retryable(err, status);
    if (err != OK) /* what never works is not tried again, whatever the user says */
        return on->no_answer && sink_retryable(err, 0);
    return status >= 0 && status < 640 && (on->codes[status / 64] >> (status % 64) & 1);
}
