/* SPDX-License-Identifier: Apache-2.0
 *
 * Which parked events a request means: from its query or its body, each mistake at its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlq.h"
#include "text.h"

static bool bad(struct dlq_call *c, const char *text)
{
    api_status(c->request, 400, "BadRequest", "%s", text);
    return false;
}

static bool out_of_memory(struct dlq_call *c)
{
    api_status(c->request, 500, "InternalError", "out of memory");
    return false;
}

static bool add_id(struct dlq_call *c, const char *id)
{
    struct dlq_selection *s = &c->order.selection;
    char **grown = realloc(s->ids, (s->id_count + 1) * sizeof *grown);
    if (!grown)
        return out_of_memory(c);
    s->ids = grown;
    s->ids[s->id_count] = strdup(id);
    if (!s->ids[s->id_count])
        return out_of_memory(c);
    s->id_count++;
    return true;
}

static bool set_source(struct dlq_call *c, const char *source)
{
    c->order.selection.source = strdup(source);
    return c->order.selection.source || out_of_memory(c);
}

/* ---- query ---- */

static bool read_limit(struct dlq_call *c, const char *text)
{
    uint64_t n;
    if (decimal_parse(slice_str(text), DLQ_HELD_MAX, &n) != OK || n == 0) {
        api_status(c->request, 400, "BadRequest", "limit: '%s' is not a number from 1 to %d", text, DLQ_HELD_MAX);
        return false;
    }
    c->limit = (size_t)n;
    return true;
}

static bool read_parameter(struct dlq_call *c, struct slice name, const char *value)
{
    struct dlq_selection *s = &c->order.selection;
    if (slice_eq(name, SLICE("limit")))
        return read_limit(c, value);
    if (slice_eq(name, SLICE("id")))
        return s->id_count ? bad(c, "id: given twice") : add_id(c, value);
    if (slice_eq(name, SLICE("source")))
        return s->source ? bad(c, "source: given twice") : set_source(c, value);
    if (slice_eq(name, SLICE("filter")))
        return s->filter ? bad(c, "filter: given twice") : order_filter_read(c->request, slice_str(value), &s->filter);
    if (slice_eq(name, SLICE("full"))) {
        c->full = strcmp(value, "true") == 0;
        return c->full || strcmp(value, "false") == 0 || bad(c, "full: is true or false");
    }
    api_status(c->request, 400, "BadRequest",
               "there is no parameter '%.*s': there are limit, filter, id, source and full", SLICE_ARG(name));
    return false;
}

bool dlq_read_query(struct dlq_call *c)
{
    struct slice rest = http_request_query(c->request);
    bool good = true;
    c->limit = DLQ_LIMIT;
    while (good && rest.len > 0) {
        struct slice value = slice_split(&rest, '&'), name = slice_split(&value, '=');
        struct buf text;
        buf_init(&text, 65536);
        if (percent_decode(value, &text) != OK) {
            good = bad(c, "the query has a '%' without two hexadecimal digits behind it");
        } else {
            char *decoded = buf_take_string(&text);
            good = decoded ? read_parameter(c, name, decoded) : out_of_memory(c);
            free(decoded);
        }
        buf_fini(&text);
    }
    return good;
}

/* ---- body ---- */

static bool read_ids(struct dlq_call *c, const cJSON *ids)
{
    const cJSON *id;
    if (!cJSON_IsArray(ids) || cJSON_GetArraySize(ids) == 0)
        return bad(c, "ids: is a list of the ids of events, at least one");
    if (cJSON_GetArraySize(ids) > DLQ_IDS_MAX) {
        api_status(c->request, 400, "BadRequest", "ids: at most %d; a filter can name more", DLQ_IDS_MAX);
        return false;
    }
    cJSON_ArrayForEach(id, ids) {
        if (!cJSON_IsString(id) || !*id->valuestring)
            return bad(c, "ids: each is a string that is not empty");
        if (!add_id(c, id->valuestring))
            return false;
    }
    return true;
}

static bool read_rate(struct dlq_call *c, const cJSON *rate)
{
    if (!c->order.redrive)
        return bad(c, "rate: is for a redrive; to discard costs nothing");
    return order_rate_read(c->request, rate, &c->order.interval_ns);
}

static bool read_member(void *arg, const cJSON *member)
{
    struct dlq_call *c = arg;
    if (strcmp(member->string, "ids") == 0)
        return read_ids(c, member);
    if (strcmp(member->string, "filter") == 0)
        return order_filter_member_read(c->request, member, &c->order.selection.filter);
    if (strcmp(member->string, "rate") == 0)
        return read_rate(c, member);
    if (strcmp(member->string, "source") == 0)
        return cJSON_IsString(member) ? set_source(c, member->valuestring) : bad(c, "source: is a string");
    if (strcmp(member->string, "all") == 0) {
        c->order.selection.all = cJSON_IsTrue(member);
        return cJSON_IsBool(member) || bad(c, "all: is true or false");
    }
    api_status(c->request, 400, "BadRequest", "%s: is not known here: there are ids, source, filter, all and rate",
               member->string);
    return false;
}

static bool read_tree(struct dlq_call *c, const cJSON *tree)
{
    if (!order_members_read(c->request, tree, "{\"all\": true}", read_member, c))
        return false;
    const struct dlq_selection *s = &c->order.selection;
    if ((s->id_count > 0) + (cJSON_GetObjectItemCaseSensitive(tree, "filter") != NULL) + s->all != 1)
        return bad(c, "say which: exactly one of ids, filter, and all: true");
    if (s->source && s->id_count == 0)
        return bad(c, "source: goes with ids; a filter can ask for the source itself");
    return true;
}

bool dlq_read_body(struct dlq_call *c)
{
    struct slice body = http_request_body(c->request);
    cJSON *tree = body.len ? cJSON_ParseWithLengthOpts(body.ptr, body.len, NULL, false) : NULL;
    bool good = read_tree(c, tree);
    cJSON_Delete(tree);
    return good;
}
