/* SPDX-License-Identifier: Apache-2.0
 *
 * `leat graph`: where events go, as a picture: sources, channels and brokers, subscriptions and triggers with their
 * filters, sinks, replies and dead letters. In the language of Graphviz, or as JSON.
 */
#include "graph.h"

#include <stdio.h>
#include <string.h>

/* ---- Graphviz ---- */

/* A quoted string of DOT: a quote and a backslash are escaped, a line break is the two letters \n. */
static void put_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (*text == '\n')
            fputs("\\n", stdout);
        else
            putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
    }
}

static void put_id(const struct graph_node *n)
{
    putchar('"');
    put_text(n->kind);
    if (*n->group) {
        putchar('.');
        put_text(n->group);
    }
    putchar('/');
    put_text(n->space);
    putchar('/');
    put_text(n->name);
    putchar('"');
}

static const char *shape_of(const struct graph_node *n)
{
    static const char *const shapes[][2] = {
        {"Channel", "cylinder"},      {"InMemoryChannel", "cylinder"},
        {"KafkaChannel", "cylinder"}, {"KafkaSink", "cylinder"},
        {"Broker", "cylinder"},       {"Subscription", "hexagon"},
        {"Trigger", "hexagon"},       {"Sequence", "box3d"},
        {"Parallel", "box3d"},        {GRAPH_URL, "box"},
        {"Service", "box"},           {"Route", "box"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (strcmp(shapes[i][0], n->kind) == 0)
            return shapes[i][1];
    return "ellipse";
}

/* What leat has no objects of may well be there. */
static bool is_missing(const struct graph_node *n)
{
    if (n->there)
        return false;
    for (size_t i = 0; kind_at(i); i++)
        if (strcmp(kind_at(i)->kind, n->kind) == 0 && strcmp(kind_at(i)->group, n->group) == 0)
            return graph_kind(kind_at(i));
    return false;
}

static void put_node(const struct graph_node *n, bool everywhere)
{
    printf("  ");
    put_id(n);
    printf(" [label=\"");
    if (strcmp(n->kind, GRAPH_URL) != 0) {
        put_text(n->kind);
        printf("\\n");
    }
    if (everywhere && *n->space) {
        put_text(n->space);
        putchar('/');
    }
    put_text(n->name);
    printf("%s\", shape=%s", is_missing(n) ? "\\nnot there" : "", shape_of(n));
    if (is_missing(n))
        printf(", style=dashed, color=red");
    else if (n->ready && strcmp(n->ready, "True") != 0)
        printf(", color=%s", strcmp(n->ready, "False") == 0 ? "red" : "orange");
    printf("];\n");
}

static void put_edge(const struct graph *g, const struct graph_edge *e)
{
    static const char *const labels[] = {"", "reply", "dead letters"}, *const looks[] = {"", ", style=dashed",
                                                                                         ", style=dotted, color=red"};
    printf("  ");
    put_id(&g->nodes[e->from]);
    printf(" -> ");
    put_id(&g->nodes[e->to]);
    printf(" [label=\"");
    put_text(labels[e->type]);
    if (e->label && *labels[e->type])
        putchar(' ');
    put_text(e->label ? e->label : "");
    printf("\"%s];\n", looks[e->type]);
}

static void print_dot(const struct graph *g, bool everywhere)
{
    printf("digraph leat {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", "
           "fontsize=10];\n");
    for (size_t i = 0; i < g->node_count; i++)
        put_node(&g->nodes[i], everywhere);
    for (size_t i = 0; i < g->edge_count; i++)
        put_edge(g, &g->edges[i]);
    printf("}\n");
}

/* ---- JSON ---- */

static void add_node(cJSON *list, const struct graph_node *n, size_t id)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "id", (double)id);
    cJSON_AddStringToObject(o, "kind", n->kind);
    if (strcmp(n->kind, GRAPH_URL) == 0) {
        cJSON_AddStringToObject(o, "url", n->name);
    } else {
        cJSON_AddStringToObject(o, "group", n->group);
        cJSON_AddStringToObject(o, "namespace", n->space);
        cJSON_AddStringToObject(o, "name", n->name);
        cJSON_AddBoolToObject(o, "missing", is_missing(n));
    }
    if (n->ready)
        cJSON_AddStringToObject(o, "ready", n->ready);
    cJSON_AddItemToArray(list, o);
}

static void print_json(const struct graph *g)
{
    static const char *const types[] = {"events", "replies", "deadLetters"};
    cJSON *whole = cJSON_CreateObject(), *nodes = cJSON_AddArrayToObject(whole, "nodes"),
          *edges = cJSON_AddArrayToObject(whole, "edges");
    for (size_t i = 0; i < g->node_count; i++)
        add_node(nodes, &g->nodes[i], i);
    for (size_t i = 0; i < g->edge_count; i++) {
        const struct graph_edge *e = &g->edges[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddNumberToObject(o, "from", (double)e->from);
        cJSON_AddNumberToObject(o, "to", (double)e->to);
        cJSON_AddStringToObject(o, "type", types[e->type]);
        if (e->label)
            cJSON_AddStringToObject(o, "label", e->label);
        cJSON_AddItemToArray(edges, o);
    }
    print_tree(whole, OUTPUT_JSON);
    cJSON_Delete(whole);
}

/* ---- the objects ---- */

/* All objects of the kind; false: said. */
static bool read_kind(struct client *cl, const struct invocation *in, const struct kind *k, struct graph *g)
{
    struct buf url;
    int status;
    const cJSON *each;
    buf_init(&url, 8192);
    object_url(&url, server_url(in), k, option_given(in, "all-namespaces") ? NULL : namespace_of(in), NULL);
    cJSON *tree = api_send(cl, "GET", url.ptr, NULL, &status);
    bool good = tree;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(tree, "items"))
        good = good && graph_read(g, k, each);
    cJSON_Delete(tree);
    buf_fini(&url);
    return good;
}

static int run(const struct invocation *in)
{
    const char *form = option_value(in, "output", "dot");
    const struct kind *k;
    struct graph g = {0};
    bool json = strcmp(form, "json") == 0, good = true;
    if (!json && strcmp(form, "dot") != 0)
        return usage_error(in->command, "-o: '%s' is neither dot nor json.", form);
    struct client *cl = client_new(in);
    if (!cl)
        return EXIT_CODE_FAILED;
    for (size_t i = 0; good && (k = kind_at(i)); i++)
        good = !graph_kind(k) || read_kind(cl, in, k, &g);
    if (g.nomem)
        fail(in->command, EXIT_CODE_FAILED, "out of memory.");
    if (good && json)
        print_json(&g);
    else if (good)
        print_dot(&g, option_given(in, "all-namespaces"));
    graph_fini(&g);
    client_free(cl);
    return good ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static const struct option_spec options[] = {
    CLIENT_OPTIONS,
    {"all-namespaces", 'A', NULL, "All namespaces.", false},
    {"output", 'o', "dot|json", "Default: dot, the language of Graphviz.", false},
    {0},
};

const struct command command_graph = {
    .name = "graph",
    .summary = "Draw where events go, for Graphviz or as JSON",
    .operands = "",
    .text =
        "Sources, channels and brokers, subscriptions and triggers with their filters, and where they send: whole\n"
        "lines are events, dashed ones replies, dotted ones dead letters. What is not ready is red, and so is what\n"
        "is referred to and not there.",
    .examples = "  leat graph | dot -Tsvg > events.svg\n  leat graph -A -o json",
    .options = options,
    .uses_kinds = true,
    .run = run,
};
