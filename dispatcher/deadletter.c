/* SPDX-License-Identifier: Apache-2.0
 *
 * What went wrong, kept beyond the answer that told it, and the event that carries it to the dead letter sink.
 *
 *     knativeerrordest   the URL that failed: the subscriber's, or the reply's
 *     knativeerrorcode   the status as text; 500 when no answer came, 502 when a 2xx answer broke the rules: both as
 *                        Knative's Go data plane says them
 *     knativeerrordata   base64 of the first 768 bytes of the answer's body, or without an answer of the words that say
 *                        why; absent when there is nothing to say
 *
 * 768 bytes make 1024 characters of base64, which is what every reader known accepts. An event that comes with these
 * extensions from an earlier dead letter sink gets the new ones in their place.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "flight.h"
#include "text.h"

_Static_assert((DISPATCH_ERROR_DATA_MAX + 2) / 3 * 4 == 1024, "error data must fill exactly what readers accept");

static int code_of(const struct sink_answer *answer)
{
    if (answer->status == 0)
        return 500;
    return answer->status >= 200 && answer->status < 300 ? 502 : answer->status;
}

static struct slice data_of(const struct sink_answer *answer)
{
    struct slice data = answer->body;
    if (answer->status == 0)
        data = answer->detail.len ? answer->detail : slice_str(err_name(answer->err));
    if (data.len > DISPATCH_ERROR_DATA_MAX)
        data.len = DISPATCH_ERROR_DATA_MAX;
    return data;
}

struct failure *failure_new(const struct sink_answer *answer, const char *url, const char *reason,
                            struct failure *cause)
{
    assert(url && reason);
    assert(answer->err != OK || answer->status > 0);
    struct slice data = data_of(answer);
    size_t url_size = strlen(url) + 1;
    struct failure *f = malloc(sizeof *f + url_size + data.len);
    if (!f)
        return NULL;
    memcpy(f->bytes, url, url_size);
    if (data.len)
        memcpy(f->bytes + url_size, data.ptr, data.len);
    f->url = f->bytes;
    f->data = slice_of(f->bytes + url_size, data.len);
    f->status = answer->status;
    f->code = code_of(answer);
    f->err = answer->err;
    f->reason = reason;
    f->cause = cause;
    return f;
}

struct failure *failure_free(struct failure *f)
{
    while (f) {
        struct failure *cause = f->cause;
        free(f);
        f = cause;
    }
    return NULL;
}

enum err deadletter_event(const struct ce_event *original, const struct failure *f, const struct ce_event **out)
{
    assert(f->data.len <= DISPATCH_ERROR_DATA_MAX);
    struct buf data;
    buf_init(&data, 1024);
    base64_put(&data, f->data);
    enum err e = buf_error(&data);
    if (e == OK) {
        char code[16];
        snprintf(code, sizeof code, "%d", f->code);
        struct ce_builder b;
        ce_builder_from(&b, original);
        ce_builder_replace(&b, SLICE("knativeerrordest"), CE_STRING, slice_str(f->url));
        ce_builder_replace(&b, SLICE("knativeerrorcode"), CE_STRING, slice_str(code));
        if (data.len)
            ce_builder_replace(&b, SLICE("knativeerrordata"), CE_STRING, buf_slice(&data));
        else
            ce_builder_remove(&b, SLICE("knativeerrordata"));
        e = ce_builder_seal(&b, CE_EVENT_BYTES_MAX, out, NULL);
    }
    buf_fini(&data);
    return e;
}
