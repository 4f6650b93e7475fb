/* SPDX-License-Identifier: Apache-2.0
 *
 * Of `leat graph`: which object leads to which. Nodes are objects, and URLs that no object stands for.
 */
#ifndef LEAT_CLI_GRAPH_H
#define LEAT_CLI_GRAPH_H

#include "client.h"

#define GRAPH_NONE SIZE_MAX /* no node */
#define GRAPH_URL "URL"     /* the kind of a node that is no object; its name is the URL */

struct graph_node {
    char *group, *kind, *space, *name; /* owned */
    bool there;                        /* false: it is only referred to */
    const char *ready;                 /* "True", "False", "Unknown"; NULL: it has no such condition */
};
enum graph_edge_type { GRAPH_EVENTS, GRAPH_REPLIES, GRAPH_DEAD_LETTERS };
struct graph_edge {
    size_t from, to;
    enum graph_edge_type type;
    char *label; /* owned: a filter, a step; NULL: none */
};
struct graph {
    struct graph_node *nodes;
    size_t node_count, node_cap;
    struct graph_edge *edges;
    size_t edge_count, edge_cap;
    bool nomem;
};

/* Whether objects of this kind are drawn. */
bool graph_kind(const struct kind *k);
/* Takes an object in, and what it leads to. false: no memory. */
bool graph_read(struct graph *g, const struct kind *k, const cJSON *object);
/* The node of an object, which is made when there is none. GRAPH_NONE: no memory. */
size_t graph_node(struct graph *g, const char *group, const char *kind, const char *space, const char *name);
void graph_fini(struct graph *g);

#endif
