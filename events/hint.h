/* SPDX-License-Identifier: Apache-2.0
 *
 * leat_mode: a header of our own beside a CloudEvent, in records of Kafka and messages of AMQP. Their binary mode
 * cannot say all that an event is: it has no types of extensions and no kinds of data, and whoever subscribes is to get
 * the event in the mode in which it came. So what the fields would say wrongly by themselves stands here:
 *
 *     leat_mode = mode *( ";" name "=" value )         structured;data=json;types=seq:integer,last:boolean
 *     mode      = "binary" / "structured" / "batch"    as the event came
 *     data      = "bytes" / "text" / "json"            the kind of its data
 *     type      = "none"                               it has no datacontenttype: the content type was added
 *     types     = NAME ":" TYPE *( "," NAME ":" TYPE ) of extensions
 *
 * It is a hint, for anybody may write such a header, or copy it onto another event: what does not fit is passed over,
 * and no event is refused for it.
 */
#ifndef LEAT_HINT_H
#define LEAT_HINT_H

#include "event_private.h"

#define CE_HINT_HEADER SLICE("leat_mode")

/* Appends the hint of an event written in this mode, as far as the fields do not say it by themselves; often nothing.
 * `empty_is_none`: the binding cannot tell empty data from none. At most `max` bytes: types that do not fit are left
 * out, the last ones first; where not even the rest does, all is. */
void ce_hint_put(const struct ce_event *e, enum ce_mode wire, bool empty_is_none, size_t max, struct buf *out);

/* Applies a hint to an event that is complete but for it. */
void ce_hint_apply(struct ce_builder *b, struct slice hint);
/* What goes into an event beside what its message says of it: the hint, and extensions set whatever the message says.
 */
struct ce_beside {
    struct slice hint;
    const struct ce_attribute *overrides;
    size_t override_count;
};
/* To an event that is complete but for it; also as ce_json_decode_amended's `amend`. */
void ce_beside_apply(struct ce_builder *b, const void *beside);
/* Whether it names a kind of data: then empty data is data. */
bool ce_hint_tells_data(struct slice hint);

/* Whether a transport header of an event goes out beside it: with `carry` every one that is passed on, else those of
 * W3C Trace Context, which whoever traces reads in the headers of messages, a stranger too. */
bool ce_carries(bool carry, struct slice header);

#endif
