/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /leat/v1/explain?id=ID[&source=URI][&all=true]: where an event went. The shards' notes, and for each subscription
 * of the channels that took it whether its filter lets it pass: evaluated now, from the attributes that the trace kept,
 * so that delivery pays nothing for it.
 *
 *     {"id", "since", "complete", "events": [{"source", "type", "attributes", "channel",
 *       "taken": [{"time", "request", "requestId", "cause"}], "made": [{"id", "channel"}],
 *       "subscriptions": [{"name", "kind", "matched", "reason", "state", "attempts": [...]}], "unmatched",
 * "unlisted"}]}
 *
 * One element of events for each source and channel. Who may see one namespace is told what lies in it, and under
 * "leftOut" how much there is beside it: {"channels", "subscriptions", "made"}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lookup.h"
#include "api.h"
#include "order.h"
#include "text.h"

#define VALUE_MAX (256u << 10) /* of a parameter, with its escapes: an id is as long as an event's head may be */
#define UNMATCHED_SHOWN 20     /* subscriptions that do not match, unless all are asked for */
#define REASON_MAX 4096
#define VIEWS_MAX 100 /* pairs of event and channel: one id may be of many sources, and pass many channels */

struct left_out { /* of what the caller may not see */
    unsigned channels, subscriptions, made;
};

struct explain {
    struct api_later later;
    struct http_request *request; /* NULL once closed */
    struct api *api;
    bool all;
    struct buf id, source;
};

/* What is being written about: the notes of one source on one channel. */
struct view {
    const struct lookup *lookup;
    const struct routing *routing;
    const struct access_caller *who;
    struct left_out *left_out;
    bool all;
    uint64_t mark;
    size_t channel;               /* in the plan; SIZE_MAX: none of it */
    uint32_t subject;             /* the channel's */
    bool foreign;                 /* it is none that the caller may see */
    const struct ce_event *event; /* its attributes; NULL: not known */
    int64_t taken_ns;             /* when the channel took it last; 0: not known */
};

/* ---- small texts ---- */

static void add_slice(cJSON *to, const char *name, struct slice s)
{
    struct buf text;
    buf_init(&text, s.len + 1);
    for (size_t i = 0, n; i < s.len; i += n ? n : 1) { /* an answer may be anything; JSON is UTF-8 */
        uint32_t code_point;
        n = utf8_decode(slice_from(s, i), &code_point);
        buf_put(&text, n && code_point ? slice_of(s.ptr + i, n) : SLICE("?"));
    }
    buf_put_char(&text, '\0');
    if (buf_error(&text) == OK)
        cJSON_AddStringToObject(to, name, text.ptr);
    buf_fini(&text);
}

static void add_time(cJSON *to, const char *name, int64_t wall_ns)
{
    struct buf text;
    buf_init(&text, 64);
    rfc3339_put(&text, wall_ns, 6);
    add_slice(to, name, buf_slice(&text));
    buf_fini(&text);
}

/* Appends to a list; without memory the object is let go. */
static void append(cJSON *list, cJSON *object)
{
    if (!cJSON_AddItemToArray(list, object))
        cJSON_Delete(object);
}

/* "Trigger.eventing.knative.dev/ns/name/steps/1" as kind, namespace and name. */
static void add_key(cJSON *to, const char *key)
{
    struct slice rest = slice_str(key), head = slice_split(&rest, '/');
    add_slice(to, "kind", slice_split(&head, '.'));
    add_slice(to, "namespace", slice_split(&rest, '/'));
    add_slice(to, "name", rest);
}

static size_t plan_channel_of(const struct routing *r, uint32_t subject)
{
    for (size_t i = 0; i < r->plan->channel_count; i++)
        if (r->channels[i]->subject == subject)
            return i;
    return SIZE_MAX;
}

static size_t plan_subscription_of(const struct routing *r, uint32_t subject)
{
    for (size_t i = 0; i < r->plan->subscription_count; i++)
        if (r->subscriptions[i]->subject == subject)
            return i;
    return SIZE_MAX;
}

static void add_channel(cJSON *to, const struct routing *r, size_t channel)
{
    cJSON *c = cJSON_AddObjectToObject(to, "channel");
    if (channel != SIZE_MAX)
        add_key(c, r->plan->channels[channel].key);
    else
        cJSON_AddNullToObject(c, "name"); /* it is no longer there */
}

static bool is_seen(const struct access_caller *who, const char *key)
{
    return access_sees(who, order_key_split(key).space);
}

/* Whether a channel of the plan may be seen; one that is gone has no namespace any more. */
static bool channel_is_seen(const struct access_caller *who, const struct routing *r, size_t channel)
{
    return channel == SIZE_MAX ? !who->namespace_name[0] : is_seen(who, r->plan->channels[channel].key);
}

/* ---- attempts ---- */

static const char *phase_name(enum trace_phase phase)
{
    static const char *const names[] = {[TRACE_SUBSCRIBER] = "subscriber",
                                        [TRACE_REPLY] = "reply",
                                        [TRACE_DEAD_LETTER] = "dead-letter",
                                        [TRACE_PARK] = "park"};
    return names[phase];
}

/* How a subscription's delivery of the event has ended before: what follows a parking is a redrive, what follows
 * another end a replay. */
struct past_ends {
    unsigned parked, others;
    bool last_parked;
};

static void add_attempt(cJSON *list, const struct trace_note *n, const char *subscription, const struct past_ends *past)
{
    const struct trace_attempt *a = &n->attempt;
    char id[700], again[32] = "";
    cJSON *o = cJSON_CreateObject();
    const char *why = past->last_parked ? "redrive" : "replay";
    unsigned times = past->last_parked ? past->parked : past->others;
    if (times)
        snprintf(again, sizeof again, "%s-%u/", why, times);
    snprintf(id, sizeof id, "%s/%s%s/%u", subscription, again, phase_name(a->phase), a->number);
    cJSON_AddStringToObject(o, "id", id);
    if (times)
        cJSON_AddNumberToObject(o, why, times);
    cJSON_AddStringToObject(o, "phase", phase_name(a->phase));
    cJSON_AddNumberToObject(o, "number", a->number);
    add_time(o, "time", n->wall_ns - (int64_t)a->duration_ns);
    cJSON_AddNumberToObject(o, "milliseconds", (double)(a->duration_ns / NS_PER_US) / 1000);
    if (a->status)
        cJSON_AddNumberToObject(o, "code", a->status);
    if (a->err != OK)
        cJSON_AddStringToObject(o, "error", err_name(a->err));
    if (a->text.len)
        add_slice(o, "text", a->text);
    if (a->next_wait_ns)
        add_time(o, "nextAttempt", n->wall_ns + (int64_t)a->next_wait_ns);
    append(list, o);
}

/* What the notes say of one subscription, and how it stands. */
static void add_attempts(cJSON *to, const struct view *v, size_t subscription, const char *name)
{
    const struct plan_subscription *p = &v->routing->plan->subscriptions[subscription];
    const struct engine_subscription *s = v->routing->subscriptions[subscription];
    const struct trace_note *last = NULL;
    uint32_t subject = s->subject;
    struct past_ends past = {0};
    cJSON *list = cJSON_AddArrayToObject(to, "attempts");
    for (size_t i = 0; i < v->lookup->count; i++) {
        const struct trace_note *n = &v->lookup->notes[i]->note;
        if (n->mark != v->mark || n->subject != subject || (n->kind != TRACE_NOTE_ATTEMPT && n->kind != TRACE_NOTE_END))
            continue;
        last = n;
        if (n->kind == TRACE_NOTE_ATTEMPT)
            add_attempt(list, n, name, &past);
        if (n->kind == TRACE_NOTE_ATTEMPT || n->end == TRACE_RELEASED)
            continue;
        past.last_parked = n->end == TRACE_PARKED;
        past.parked += past.last_parked;
        past.others += !past.last_parked;
    }
    bool ended = last && last->kind == TRACE_NOTE_END && last->end != TRACE_RELEASED;
    bool newer = !last && v->taken_ns && s->since_ns > v->taken_ns && p->start.kind == BUS_START_LATEST &&
                 strcmp(p->cursor, p->uid) == 0; /* else it has taken up what was kept for it */
    const char *waiting = newer ? "newer" : p->paused ? "paused" : "waiting"; /* with the bus, if anywhere */
    const char *state = ended                                   ? trace_end_name(last->end)
                        : !last || last->kind == TRACE_NOTE_END ? waiting
                        : last->attempt.next_wait_ns            ? "retrying"
                                                                : "under way";
    cJSON_AddStringToObject(to, "state", state);
    if (ended)
        add_time(to, "ended", last->wall_ns);
}

/* ---- subscriptions ---- */

static void add_reason(cJSON *to, const struct filter *f, const struct ce_event *e)
{
    struct buf text;
    buf_init(&text, REASON_MAX);
    filter_reason(f, e, &text);
    add_slice(to, "reason", buf_slice(&text));
    buf_fini(&text);
}

static void add_matching(cJSON *list, const struct view *v, size_t i)
{
    const struct plan_subscription *p = &v->routing->plan->subscriptions[i];
    cJSON *s = cJSON_CreateObject();
    char name[600];
    add_key(s, p->key);
    snprintf(name, sizeof name, "%s/%s", p->namespace_name, p->name);
    if (v->event)
        cJSON_AddBoolToObject(s, "matched", filter_match(p->filter, v->event));
    add_attempts(s, v, i, name);
    append(list, s);
}

static bool has_notes(const struct view *v, uint32_t subject)
{
    for (size_t i = 0; i < v->lookup->count; i++) {
        const struct trace_note *n = &v->lookup->notes[i]->note;
        if (n->mark == v->mark && n->subject == subject && n->kind >= TRACE_NOTE_ATTEMPT)
            return true;
    }
    return false;
}

static void add_unmatched(cJSON *list, const struct view *v, const struct plan_subscription *p)
{
    cJSON *s = cJSON_CreateObject();
    add_key(s, p->key);
    cJSON_AddBoolToObject(s, "matched", false);
    add_reason(s, p->filter, v->event);
    append(list, s);
}

/* Whether the event went to a subscription, or has to. */
static bool concerns(const struct view *v, size_t i)
{
    return (v->event && filter_match(v->routing->plan->subscriptions[i].filter, v->event)) ||
           has_notes(v, v->routing->subscriptions[i]->subject);
}

/* Those that match, or that have attempts (a filter may have changed since), all of them; of the others some. Without
 * the event's attributes nothing can be said of a filter. Of a channel that the caller may not see, events that went to
 * none of his are none of his business. */
static void add_subscriptions(cJSON *to, const struct view *v)
{
    const struct plan *plan = v->routing->plan;
    cJSON *list = cJSON_AddArrayToObject(to, "subscriptions");
    size_t others = 0, unlisted = 0;
    for (size_t i = 0; i < plan->subscription_count; i++) {
        const struct plan_subscription *p = &plan->subscriptions[i];
        if (p->channel != v->channel)
            continue;
        if (!is_seen(v->who, p->key))
            v->left_out->subscriptions++;
        else if (concerns(v, i))
            add_matching(list, v, i);
        else if (v->foreign)
            continue;
        else if (++others > UNMATCHED_SHOWN && !v->all)
            unlisted++;
        else if (v->event)
            add_unmatched(list, v, p);
        else
            add_matching(list, v, i);
    }
    cJSON_AddNumberToObject(to, "unmatched", v->event ? (double)others : 0);
    cJSON_AddNumberToObject(to, "unlisted", (double)unlisted);
}

/* ---- events ---- */

static void add_attributes(cJSON *to, const struct ce_event *e)
{
    cJSON *attributes = cJSON_AddObjectToObject(to, "attributes");
    for (size_t i = 0; i < ce_event_attribute_count(e); i++) {
        char name[CE_NAME_LEN_MAX + 1];
        struct ce_attribute a = ce_event_attribute_at(e, i);
        snprintf(name, sizeof name, "%.*s", SLICE_ARG(a.name));
        add_slice(attributes, name, a.value);
    }
}

static void add_request_id(cJSON *to, const struct ce_event *e)
{
    for (size_t i = 0; i < ce_event_header_count(e); i++) {
        struct slice name, value;
        ce_event_header_at(e, i, &name, &value);
        if (slice_eq_nocase(name, SLICE("x-request-id")))
            add_slice(to, "requestId", value);
    }
}

/* A note that this channel took the event. */
static void add_taken(cJSON *list, const struct lookup_note *l)
{
    char number[40];
    cJSON *o = cJSON_CreateObject();
    add_time(o, "time", l->note.wall_ns);
    snprintf(number, sizeof number, "%u-%llu", l->loop, (unsigned long long)l->note.request);
    if (l->note.request)
        cJSON_AddStringToObject(o, "request", number);
    if (l->note.event)
        add_request_id(o, l->note.event);
    if (l->note.other.len)
        add_slice(o, "cause", l->note.other);
    append(list, o);
}

static void add_made(cJSON *to, const struct view *v)
{
    cJSON *list = cJSON_AddArrayToObject(to, "made");
    for (size_t i = 0; i < v->lookup->count; i++) {
        const struct trace_note *n = &v->lookup->notes[i]->note;
        if (n->mark != v->mark || n->kind != TRACE_NOTE_MADE)
            continue;
        size_t channel = plan_channel_of(v->routing, n->subject);
        if (!channel_is_seen(v->who, v->routing, channel)) {
            v->left_out->made++;
            continue;
        }
        cJSON *o = cJSON_CreateObject();
        add_slice(o, "id", n->other);
        add_channel(o, v->routing, channel);
        append(list, o);
    }
}

/* Whether a note is that the event came in, by this view's channel or another. */
static bool is_arrival(const struct view *v, const struct trace_note *n)
{
    return n->mark == v->mark && n->kind == TRACE_NOTE_EVENT;
}

/* The event as the channel took it, and when; as another one took it, where this one's note is gone: unless that is
 * none of the caller's business. */
static void find_event(struct view *v)
{
    for (size_t i = 0; i < v->lookup->count; i++) {
        const struct trace_note *n = &v->lookup->notes[i]->note;
        if (!is_arrival(v, n))
            continue;
        if (n->subject == v->subject || (!v->event && !v->who->namespace_name[0]))
            v->event = n->event;
        if (n->subject == v->subject)
            v->taken_ns = n->wall_ns;
    }
}

/* Of a channel that the caller may not see: whether one of his own subscriptions has to do with the event. */
static bool concerns_him(const struct view *v)
{
    const struct plan *plan = v->routing->plan;
    for (size_t i = 0; v->channel != SIZE_MAX && i < plan->subscription_count; i++) {
        const struct plan_subscription *p = &plan->subscriptions[i];
        if (p->channel == v->channel && is_seen(v->who, p->key) && concerns(v, i))
            return true;
    }
    return false;
}

static void add_view(cJSON *events, const struct view *v)
{
    cJSON *o = cJSON_CreateObject(), *taken = cJSON_AddArrayToObject(o, "taken");
    for (size_t i = 0; i < v->lookup->count && !v->foreign; i++)
        if (is_arrival(v, &v->lookup->notes[i]->note) && v->lookup->notes[i]->note.subject == v->subject)
            add_taken(taken, v->lookup->notes[i]);
    if (v->event) {
        add_slice(o, "source", ce_event_source(v->event));
        add_slice(o, "type", ce_event_type(v->event));
        add_attributes(o, v->event);
    }
    add_channel(o, v->routing, v->foreign ? SIZE_MAX : v->channel);
    add_made(o, v);
    if (v->channel != SIZE_MAX)
        add_subscriptions(o, v);
    append(events, o);
}

/* The channel that a note is about, or 0 when the plan no longer knows. */
static uint32_t channel_of(const struct routing *r, const struct trace_note *n)
{
    if (n->kind == TRACE_NOTE_EVENT)
        return n->subject;
    size_t i = n->kind == TRACE_NOTE_MADE ? SIZE_MAX : plan_subscription_of(r, n->subject);
    return i == SIZE_MAX ? 0 : r->channels[r->plan->subscriptions[i].channel]->subject;
}

/* One view for each pair of event and channel, in the order of the first note about it; how many. */
static size_t add_events(cJSON *events, const struct view *of)
{
    struct view views[VIEWS_MAX];
    size_t count = 0, shown = 0;
    for (size_t i = 0; i < of->lookup->count && count < VIEWS_MAX; i++) {
        const struct trace_note *n = &of->lookup->notes[i]->note;
        uint32_t subject = channel_of(of->routing, n);
        bool seen = subject == 0;
        for (size_t k = 0; k < count && !seen; k++)
            seen = views[k].mark == n->mark && views[k].subject == subject;
        if (seen)
            continue;
        views[count] = *of;
        views[count].mark = n->mark;
        views[count].channel = plan_channel_of(of->routing, subject);
        views[count].subject = subject;
        find_event(&views[count]);
        views[count].foreign = !channel_is_seen(of->who, of->routing, views[count].channel);
        of->left_out->channels += views[count].foreign;
        if (!views[count].foreign || concerns_him(&views[count])) {
            add_view(events, &views[count]);
            shown++;
        }
        count++;
    }
    return shown;
}

static void add_left_out(cJSON *root, const struct left_out *l)
{
    cJSON *o = cJSON_AddObjectToObject(root, "leftOut");
    cJSON_AddNumberToObject(o, "channels", l->channels);
    cJSON_AddNumberToObject(o, "subscriptions", l->subscriptions);
    cJSON_AddNumberToObject(o, "made", l->made);
}

/* ---- the request ---- */

static void explain_free(struct explain *x)
{
    buf_fini(&x->id);
    buf_fini(&x->source);
    free(x);
}

static void not_known(struct http_request *r, const struct explain *x, int64_t since_ns)
{
    struct buf since;
    buf_init(&since, 64);
    rfc3339_put(&since, since_ns, 0);
    buf_put_char(&since, '\0');
    api_status(r, 404, "NotFound",
               "nothing is known of an event with the id '%.*s'%s%.*s. What happened since %s is remembered; "
               "`leat serve --trace-bytes` sets how much memory that may take",
               SLICE_ARG(buf_slice(&x->id)), x->source.len ? " and the source " : "", SLICE_ARG(buf_slice(&x->source)),
               since.ptr ? since.ptr : "?");
    buf_fini(&since);
}

/* It was taken, but by no channel that the caller may see. */
static void not_seen(struct http_request *r, const struct explain *x, const struct access_caller *who,
                     const struct left_out *l)
{
    api_status(r, 404, "NotFound",
               "nothing is known in the namespace %s of an event with the id '%.*s'; what is known of it in others (%u "
               "%s) is not for a token of this namespace",
               who->namespace_name, SLICE_ARG(buf_slice(&x->id)), l->channels,
               l->channels == 1 ? "channel" : "channels");
}

static void answer(struct explain *x, const struct lookup *l)
{
    const struct routing *r = engine_routing(x->api->engine);
    const struct access_caller who = access_caller_of(&x->api->access, x->request);
    struct left_out left_out = {0};
    if (l->count == 0 || !r) {
        not_known(x->request, x, l->since_ns);
        return;
    }
    const struct view of = {.lookup = l, .routing = r, .who = &who, .left_out = &left_out, .all = x->all};
    cJSON *root = cJSON_CreateObject();
    add_slice(root, "id", buf_slice(&x->id));
    add_time(root, "since", l->since_ns);
    cJSON_AddBoolToObject(root, "complete", !l->cut);
    size_t shown = add_events(cJSON_AddArrayToObject(root, "events"), &of);
    if (who.namespace_name[0])
        add_left_out(root, &left_out);
    if (shown || !who.namespace_name[0])
        api_json(x->request, 200, root);
    else
        not_seen(x->request, x, &who, &left_out);
    cJSON_Delete(root);
}

static void found(void *arg, struct lookup *l)
{
    struct explain *x = arg;
    if (x->request) {
        http_request_set_state(x->request, NULL);
        answer(x, l);
    }
    lookup_free(l);
    explain_free(x);
}

static void closed(struct api_later *later)
{
    container_of(later, struct explain, later)->request = NULL;
}

/* Reads the parameters; false when the request has been answered. */
static bool read_query(struct explain *x, struct http_request *r)
{
    struct buf all;
    buf_init(&all, 16);
    bool there = api_query(r, "id", &x->id) && x->id.len > 0;
    api_query(r, "source", &x->source);
    x->all = api_query(r, "all", &all) && slice_eq(buf_slice(&all), SLICE("true"));
    bool good = buf_error(&x->id) == OK && buf_error(&x->source) == OK && buf_error(&all) == OK;
    buf_fini(&all);
    if (!good)
        api_status(r, 400, "BadRequest", "the query is no list of parameters with percent-coded values");
    else if (!there)
        api_status(r, 400, "BadRequest", "the parameter id is missing: /leat/v1/explain?id=ID[&source=URI]");
    return good && there;
}

void api_explain(struct api *a, struct http_request *r)
{
    if (!engine_traces(a->engine)) {
        api_status(r, 404, "NotFound", "nothing is remembered: this server runs with --trace-bytes 0");
        return;
    }
    struct explain *x = calloc(1, sizeof *x);
    if (!x) {
        api_status(r, 500, "InternalError", "out of memory");
        return;
    }
    *x = (struct explain){.later = {closed}, .request = r, .api = a};
    buf_init(&x->id, VALUE_MAX);
    buf_init(&x->source, VALUE_MAX);
    if (!read_query(x, r)) {
        explain_free(x);
        return;
    }
    http_request_set_state(r, &x->later);
    if (lookup_start(a->engine, buf_slice(&x->id), buf_slice(&x->source), found, x) == OK)
        return;
    http_request_set_state(r, NULL);
    api_status(r, 500, "InternalError", "out of memory");
    explain_free(x);
}
