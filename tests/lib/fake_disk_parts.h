/* SPDX-License-Identifier: Apache-2.0
 *
 * What fake_disk.c (operations) and fake_disk_crash.c (what is left) share.
 *
 * Every file has its bytes twice, as pages with reference counts: as they are read, and as they are on the disk. Pages
 * are shared between the two, and between a disk and the ones that came of it, until one of them writes. What makes the
 * two differ stands in the file's journal, every entry stamped with the disk's own count of changes.
 */
#ifndef LEAT_TESTS_FAKE_DISK_PARTS_H
#define LEAT_TESTS_FAKE_DISK_PARTS_H

#include <pthread.h>

#include "fake_disk.h"
#include "list.h"
#include "prng.h"

#define PAGE 4096u
#define PATH_MAX_LEN 120

struct page {
    unsigned refs;
    unsigned char bytes[PAGE];
};

struct change { /* of a file's content or length */
    uint64_t stamp;
    uint64_t offset, len; /* written; len 0: only the length changed */
    unsigned char *bytes; /* owned */
    uint64_t old_size, size;
};

struct node {
    struct list link; /* disk.nodes */
    unsigned refs;    /* names, journal entries, handles */
    bool directory;
    uint64_t size, disk_size;
    struct page **pages, **disk_pages; /* NULL: zeros; page_cap of each */
    size_t page_cap;
    uint64_t reserved; /* bytes that count as taken */
    struct change *journal;
    size_t changes, change_cap;
    bool sync_failed, locked;
    struct node *copy; /* scratch, while a disk is copied */
};

struct name {
    char path[PATH_MAX_LEN];
    struct node *node;
};

struct names {
    struct name *at;
    size_t count, cap;
};

struct move { /* of a directory's content: from NULL-like "" is a create, to "" an unlink */
    uint64_t stamp;
    char from[PATH_MAX_LEN], to[PATH_MAX_LEN];
    struct node *node; /* of a create */
};

struct disk_file {
    struct list link; /* disk.files */
    struct node *node;
    bool writable, locked;
    char path[PATH_MAX_LEN];
};

struct fake_disk {
    struct disk base;
    pthread_mutex_t lock;
    struct prng random;
    struct list nodes, files;
    struct names now, durable;
    struct move *moves; /* what makes the two differ */
    size_t move_count, move_cap;
    uint64_t stamp;
    uint64_t counts[FAKE_OPS];
    struct fake_fault fault;
    uint64_t fault_seen, fault_fired;
    uint64_t stop_in; /* changes to go, the last one included; 0: not asked for */
    bool stopped, tracing, hold;
    uint64_t capacity;
    unsigned breaches;
    void (*changing)(void *arg, enum fake_op op);
    void *arg;
};

/* Memory that never fails; zeroed. */
void *fake_take(size_t bytes);
/* Room for one more of `size` bytes each. */
void fake_grow(void **at, size_t *cap, size_t count, size_t size);

struct page *page_ref(struct page *p); /* NULL is fine, as below */
void page_unref(struct page *p);

struct node *node_new(struct fake_disk *d, bool directory);
void node_unref(struct node *n);
void node_pages(struct node *n, uint64_t bytes); /* room in both tables */
/* Puts bytes into one of its tables; NULL: zeros. */
void node_put(struct page **pages, uint64_t offset, const unsigned char *bytes, uint64_t len);
void node_get(struct page *const *pages, uint64_t offset, unsigned char *to, uint64_t len);
/* All that the journal tells is on the disk now. */
void node_settle(struct node *n);
/* Some of it is, some is not; either way the journal is forgotten. */
void node_settle_some(struct node *n, struct prng *random);

struct name *names_find(const struct names *n, const char *path);
/* Carries one change out. False: it cannot be done here. */
bool names_move(struct names *n, const struct move *m);
void names_free(struct names *n);
bool path_in(const char *path, const char *directory); /* directly */

#endif
