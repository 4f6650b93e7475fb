/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a tree, nodes in the order of its text, lengths as varints (seven bits a byte, the lowest first):
 *
 *     FALSE | TRUE | NULL
 *     SMALL varint            a number that is a whole one from 0 to INT_MAX
 *     NUMBER 8 bytes          any other, as this machine has it
 *     WORD varint             a text of the list below
 *     TEXT length bytes 0     any other text, or what cJSON calls raw (RAW)
 *     AGAIN varint            the text that begins so many bytes before: a status has its time in each condition
 *     ARRAY count node ...
 *     OBJECT count (name node) ...   a name is a WORD, a TEXT or an AGAIN
 *
 * It stays in this process, so the list may change at any time. Recursion is bounded by the depth of what is admitted
 * (MANIFEST_DEPTH_MAX).
 */
#include "packed.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "resource.h"

#define AGAIN_LOOKED_AT 8 /* of the last texts: more would cost more time than they save bytes */
#define USUAL_BYTES 500   /* of a tree that is packed */
#define AGAIN_MIN 4       /* bytes of a text that is worth it */

enum tag { FALSE_NODE, TRUE_NODE, NULL_NODE, SMALL, NUMBER, WORD, TEXT, RAW, AGAIN, ARRAY, OBJECT };

struct packed {
    size_t len;
    unsigned char bytes[];
};

/* What most statuses consist of: by length, then by bytes. tests/unit/broker_packed.c holds the order. */
#define W(text)                                                                                                        \
    {                                                                                                                  \
        sizeof text - 1, text                                                                                          \
    }
static const struct {
    size_t len;
    const char *text;
} words[] = {
    /* clang-format off */
    W("v1"), W("bus"), W("key"), W("ref"), W("uid"), W("uri"), W("url"), W("Info"), W("True"), W("data"), W("kind"),
    W("name"), W("path"), W("sink"), W("size"), W("spec"), W("type"), W("Event"), W("False"), W("Ready"), W("exact"),
    W("reply"), W("retry"), W("Broker"), W("broker"), W("config"), W("cursor"), W("filter"), W("labels"), W("prefix"),
    W("reason"), W("source"), W("status"), W("suffix"), W("Channel"), W("Service"), W("Trigger"), W("Unknown"),
    W("address"), W("channel"), W("default"), W("filters"), W("message"), W("Deployed"), W("channels"), W("delivery"),
    W("metadata"), W("replyUri"), W("severity"), W("ConfigMap"), W("namespace"), W("TopicReady"), W("apiVersion"),
    W("attributes"), W("conditions"), W("generation"), W("subscriber"), W("Addressable"), W("BrokerReady"),
    W("FilterReady"), W("NotResolved"), W("SecretReady"), W("annotations"), W("subscribers"), W("ChannelReady"),
    W("ConfigParsed"), W("IngressReady"), W("OIDCDisabled"), W("ServiceReady"), W("SinkProvided"), W("Subscription"),
    W("backoffDelay"), W("ChannelsReady"), W("ExchangeReady"), W("backoffPolicy"), W("subscriberURI"),
    W("subscriberUri"), W("AddedToChannel"), W("EndpointsReady"), W("ProbeSucceeded"), W("deadLetterSink"),
    W("DeliveryHealthy"), W("DependencyReady"), W("DispatcherReady"), W("InMemoryChannel"), W("NoEventPolicies"),
    W("resourceVersion"), W("ConfigMapUpdated"), W("NothingDelivered"), W("SubscriptionReady"),
    W("creationTimestamp"), W("deadLetterChannel"), W("deadLetterSinkUri"), W("EventPoliciesReady"),
    W("ReferencesResolved"), W("SubscriberResolved"), W("SubscriptionsReady"), W("lastTransitionTime"),
    W("observedGeneration"), W("BackingChannelReady"), W("ChannelServiceReady"), W("OIDCIdentityCreated"),
    W("TriggerChannelReady"), W("physicalSubscription"), W("DeadLetterSinkResolved"), W("eventing.knative.dev/v1"),
    W("messaging.knative.dev/v1"), W("DeadLetterSinkNotConfigured"), W("eventing.knative.dev/broker"),
    W("no delivery has been tried yet"),
    /* clang-format on */
};
#undef W
#define WORDS_COUNT (sizeof words / sizeof words[0])
#define NO_WORD WORDS_COUNT

static size_t word_of(const char *text, size_t len)
{
    size_t low = 0, high = WORDS_COUNT;
    while (low < high) {
        size_t middle = low + (high - low) / 2, its = words[middle].len;
        int order = its < len ? -1 : its > len ? 1 : memcmp(words[middle].text, text, len);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NO_WORD;
}

/* ---- packing ---- */

struct writer {
    struct buf out;
    struct {
        size_t at, len; /* of a TEXT's bytes in `out` */
    } last[AGAIN_LOOKED_AT];
    size_t texts; /* so far */
};

static void put_number(struct writer *w, size_t n)
{
    for (; n > 127; n >>= 7)
        buf_put_char(&w->out, (char)(n | 128));
    buf_put_char(&w->out, (char)n);
}

static void put_tag(struct writer *w, enum tag tag, size_t n)
{
    buf_put_char(&w->out, (char)tag);
    put_number(w, n);
}

/* Whether the text was written lately; *back is how far before the present end its bytes begin. */
static bool find_again(const struct writer *w, const char *text, size_t len, size_t *back)
{
    if (len < AGAIN_MIN || buf_error(&w->out) != OK)
        return false;
    for (size_t i = 0; i < AGAIN_LOOKED_AT && i < w->texts; i++) {
        size_t at = w->last[i].at;
        if (w->last[i].len == len && memcmp(w->out.ptr + at, text, len) == 0) {
            *back = w->out.len - at;
            return true;
        }
    }
    return false;
}

static void put_text(struct writer *w, enum tag tag, const char *text)
{
    size_t len = strlen(text), back, word = tag == TEXT ? word_of(text, len) : NO_WORD;
    if (word != NO_WORD) {
        put_tag(w, WORD, word);
    } else if (tag == TEXT && find_again(w, text, len, &back)) {
        put_tag(w, AGAIN, back);
    } else {
        put_tag(w, tag, len);
        size_t at = w->out.len;
        buf_put(&w->out, slice_of(text, len + 1));
        if (tag == TEXT) {
            w->last[w->texts % AGAIN_LOOKED_AT].at = at;
            w->last[w->texts % AGAIN_LOOKED_AT].len = len;
            w->texts++;
        }
    }
}

static void put_double(struct writer *w, double number)
{
    if (number >= 0 && number <= INT_MAX && (double)(int)number == number && !signbit(number)) {
        put_tag(w, SMALL, (size_t)number);
    } else {
        buf_put_char(&w->out, (char)NUMBER);
        buf_put(&w->out, slice_of((const char *)&number, sizeof number));
    }
}

static void put_node(struct writer *w, const cJSON *node)
{
    const cJSON *each;
    switch (node->type & 0xff) {
    case cJSON_Number:
        put_double(w, node->valuedouble);
        return;
    case cJSON_String:
    case cJSON_Raw:
        put_text(w, cJSON_IsRaw(node) ? RAW : TEXT, node->valuestring ? node->valuestring : "");
        return;
    case cJSON_Array:
    case cJSON_Object:
        put_tag(w, cJSON_IsObject(node) ? OBJECT : ARRAY, (size_t)cJSON_GetArraySize(node));
        cJSON_ArrayForEach(each, node) {
            if (cJSON_IsObject(node))
                put_text(w, TEXT, each->string ? each->string : "");
            put_node(w, each);
        }
        return;
    default:
        buf_put_char(&w->out, (char)(cJSON_IsTrue(node) ? TRUE_NODE : cJSON_IsFalse(node) ? FALSE_NODE : NULL_NODE));
    }
}

struct packed *packed_new(const cJSON *tree)
{
    struct writer w = {.texts = 0};
    struct packed *p = NULL;
    buf_init(&w.out, SIZE_MAX);
    (void)buf_reserve(&w.out, USUAL_BYTES);
    put_node(&w, tree);
    if (buf_error(&w.out) == OK && (p = malloc(sizeof *p + w.out.len))) {
        p->len = w.out.len;
        memcpy(p->bytes, w.out.ptr, w.out.len);
    }
    buf_fini(&w.out);
    return p;
}

bool packed_same(const struct packed *a, const struct packed *b)
{
    return a == b || (a && b && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

size_t packed_size(const struct packed *p)
{
    return sizeof *p + p->len;
}

/* ---- unpacking ---- */

struct reader {
    const struct packed *p;
    size_t at;
};

static size_t take_number(struct reader *r)
{
    size_t n = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned char byte = r->p->bytes[r->at++];
        n |= (size_t)(byte & 127) << shift;
        if (!(byte & 128))
            return n;
    }
}

static enum tag take_tag(struct reader *r)
{
    assert(r->at < r->p->len);
    return (enum tag)r->p->bytes[r->at++];
}

/* Behind its tag; *word: it is one of the list, which stays for ever. */
static const char *take_text(struct reader *r, enum tag tag, bool *word)
{
    size_t begin = r->at - 1, n = take_number(r);
    *word = tag == WORD;
    if (tag == WORD)
        return words[n].text;
    if (tag == AGAIN)
        return (const char *)r->p->bytes + (begin - n);
    const char *text = (const char *)r->p->bytes + r->at;
    r->at += n + 1;
    return text;
}

static cJSON *take_node(struct reader *r);

/* The members behind the tag. NULL: no memory. */
static cJSON *take_members(struct reader *r, bool named)
{
    cJSON *node = named ? cJSON_CreateObject() : cJSON_CreateArray();
    for (size_t n = take_number(r); node && n > 0; n--) {
        bool word = false;
        const char *name = NULL;
        if (named)
            name = take_text(r, take_tag(r), &word);
        cJSON *member = take_node(r);
        bool good = member && (!named ? cJSON_AddItemToArray(node, member)
                               : word ? cJSON_AddItemToObjectCS(node, name, member)
                                      : cJSON_AddItemToObject(node, name, member));
        if (good)
            continue;
        cJSON_Delete(member);
        cJSON_Delete(node);
        node = NULL;
    }
    return node;
}

static cJSON *take_node(struct reader *r)
{
    enum tag tag = take_tag(r);
    double number;
    bool word;
    switch (tag) {
    case FALSE_NODE:
        return cJSON_CreateFalse();
    case TRUE_NODE:
        return cJSON_CreateTrue();
    case NULL_NODE:
        return cJSON_CreateNull();
    case SMALL:
        return cJSON_CreateNumber((double)take_number(r));
    case NUMBER:
        memcpy(&number, r->p->bytes + r->at, sizeof number);
        r->at += sizeof number;
        return cJSON_CreateNumber(number);
    case RAW:
        return cJSON_CreateRaw(take_text(r, tag, &word));
    case WORD:
    case TEXT:
    case AGAIN:
        return cJSON_CreateString(take_text(r, tag, &word));
    case ARRAY:
    case OBJECT:
        return take_members(r, tag == OBJECT);
    }
    assert(false && "a tag of packed_new");
    return NULL;
}

cJSON *packed_tree(const struct packed *p)
{
    struct reader r = {.p = p};
    cJSON *tree = take_node(&r);
    assert(!tree || r.at == p->len);
    return tree;
}

/* ---- flat trees ---- */

struct flat {
    cJSON *node; /* the next one that is free */
    char *text;
};

/* What a text takes; nothing where it is one of the list. */
static size_t text_room(const char *text, bool version)
{
    size_t len = strlen(text);
    if (version)
        return len < FLAT_VERSION_BYTES ? FLAT_VERSION_BYTES : len + 1;
    return word_of(text, len) == NO_WORD ? len + 1 : 0;
}

static bool is_version(const cJSON *node)
{
    return cJSON_IsString(node) && node->string && strcmp(node->string, "resourceVersion") == 0;
}

static void measure(const cJSON *node, size_t *nodes, size_t *bytes)
{
    ++*nodes;
    if (node->string)
        *bytes += text_room(node->string, false);
    if (node->valuestring)
        *bytes += text_room(node->valuestring, is_version(node));
    const cJSON *each;
    cJSON_ArrayForEach(each, node)
        measure(each, nodes, bytes);
}

static char *flat_text(struct flat *f, const char *text, bool version, bool *word)
{
    size_t len = strlen(text), room = text_room(text, version);
    *word = room == 0;
    if (*word)
        return (char *)(uintptr_t)words[word_of(text, len)].text;
    char *copy = memcpy(f->text, text, len + 1);
    f->text += room;
    return copy;
}

static cJSON *flatten(struct flat *f, const cJSON *from)
{
    cJSON *node = f->node++;
    bool word = false;
    node->type = from->type & 0xff;
    node->valueint = from->valueint;
    node->valuedouble = from->valuedouble;
    if (from->valuestring)
        node->valuestring = flat_text(f, from->valuestring, is_version(from), &word);
    if (from->string) {
        node->string = flat_text(f, from->string, false, &word);
        if (word) /* copies may have the same: it stays for ever */
            node->type |= cJSON_StringIsConst;
    }
    const cJSON *each;
    cJSON *last = NULL;
    cJSON_ArrayForEach(each, from) {
        cJSON *member = flatten(f, each);
        member->prev = last;
        if (last)
            last->next = member;
        else
            node->child = member;
        last = member;
    }
    if (last)
        node->child->prev = last; /* as cJSON has it */
    return node;
}

cJSON *flat_new(const cJSON *tree)
{
    size_t nodes = 0, bytes = 0;
    measure(tree, &nodes, &bytes);
    cJSON *block = calloc(1, nodes * sizeof *block + bytes);
    struct flat f = {.node = block, .text = block ? (char *)(block + nodes) : NULL};
    return block ? flatten(&f, tree) : NULL;
}
