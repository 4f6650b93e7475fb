/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake disk's operations. One mutex guards all; the watcher is called without it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_disk_parts.h"

static const char *const op_names[FAKE_OPS] = {"write",  "sync",     "allocate", "truncate", "create", "rename",
                                               "unlink", "make_dir", "sync_dir", "open",     "read",   "size",
                                               "list",   "space",    "writable", "lock"};

/* ---- memory, pages ---- */

void *fake_take(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 16, bytes ? bytes : 1) != 0)
        abort();
    return memset(p, 0, bytes);
}

void fake_grow(void **at, size_t *cap, size_t count, size_t size)
{
    if (count < *cap)
        return;
    size_t more = *cap ? 2 * *cap : 8;
    void *bigger = fake_take(more * size);
    if (count)
        memcpy(bigger, *at, count * size);
    free(*at);
    *at = bigger;
    *cap = more;
}

struct page *page_ref(struct page *p)
{
    if (p)
        __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void page_unref(struct page *p)
{
    if (p && __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(p);
}

/* The page, for writing: nobody else has it. */
static struct page *page_own(struct page **at)
{
    if (*at && __atomic_load_n(&(*at)->refs, __ATOMIC_ACQUIRE) == 1)
        return *at;
    struct page *own = fake_take(sizeof(*own));
    own->refs = 1;
    if (*at)
        memcpy(own->bytes, (*at)->bytes, PAGE);
    page_unref(*at);
    return *at = own;
}

/* ---- files ---- */

struct node *node_new(struct fake_disk *d, bool directory)
{
    struct node *n = fake_take(sizeof(*n));
    n->directory = directory;
    n->refs = 1;
    list_push_back(&d->nodes, &n->link);
    return n;
}

static void forget_journal(struct node *n)
{
    for (size_t i = 0; i < n->changes; i++)
        free(n->journal[i].bytes);
    n->changes = 0;
}

void node_unref(struct node *n)
{
    if (!n || --n->refs)
        return;
    list_remove(&n->link);
    forget_journal(n);
    for (size_t i = 0; i < n->page_cap; i++) {
        page_unref(n->pages[i]);
        page_unref(n->disk_pages[i]);
    }
    free(n->pages);
    free(n->disk_pages);
    free(n->journal);
    free(n);
}

void node_pages(struct node *n, uint64_t bytes)
{
    size_t want = (size_t)((bytes + PAGE - 1) / PAGE);
    if (want <= n->page_cap)
        return;
    struct page **a = fake_take(want * sizeof(*a)), **b = fake_take(want * sizeof(*b));
    if (n->page_cap) {
        memcpy(a, n->pages, n->page_cap * sizeof(*a));
        memcpy(b, n->disk_pages, n->page_cap * sizeof(*b));
    }
    free(n->pages);
    free(n->disk_pages);
    n->pages = a;
    n->disk_pages = b;
    n->page_cap = want;
}

void node_put(struct page **pages, uint64_t offset, const unsigned char *bytes, uint64_t len)
{
    while (len) {
        uint64_t at = offset % PAGE, n = len < PAGE - at ? len : PAGE - at;
        struct page **page = &pages[offset / PAGE];
        if (bytes) {
            memcpy(page_own(page)->bytes + at, bytes, (size_t)n);
            bytes += n;
        } else if (*page && n == PAGE) {
            page_unref(*page);
            *page = NULL;
        } else if (*page) {
            memset(page_own(page)->bytes + at, 0, (size_t)n);
        }
        offset += n;
        len -= n;
    }
}

void node_get(struct page *const *pages, uint64_t offset, unsigned char *to, uint64_t len)
{
    while (len) {
        uint64_t at = offset % PAGE, n = len < PAGE - at ? len : PAGE - at;
        const struct page *page = pages[offset / PAGE];
        if (page)
            memcpy(to, page->bytes + at, (size_t)n);
        else
            memset(to, 0, (size_t)n);
        to += n;
        offset += n;
        len -= n;
    }
}

/* Pages that the change touched are whole on the disk now: a system writes pages, not bytes. */
static void settle_pages(struct node *n, uint64_t from, uint64_t to)
{
    for (uint64_t i = from / PAGE; i * PAGE < to && i < n->page_cap; i++) {
        page_unref(n->disk_pages[i]);
        n->disk_pages[i] = page_ref(n->pages[i]);
    }
}

void node_settle(struct node *n)
{
    for (size_t i = 0; i < n->changes; i++) {
        const struct change *c = &n->journal[i];
        if (c->len)
            settle_pages(n, c->offset, c->offset + c->len);
        if (c->size < c->old_size)
            settle_pages(n, c->size, c->old_size);
    }
    n->disk_size = n->size;
    forget_journal(n);
}

/* Notes a change and makes it readable. */
static void node_change(struct fake_disk *d, struct node *n, const void *bytes, uint64_t len, uint64_t offset,
                        uint64_t size)
{
    struct change c = {.stamp = ++d->stamp, .offset = offset, .len = len, .old_size = n->size, .size = size};
    node_pages(n, size);
    if (len) {
        c.bytes = fake_take((size_t)len);
        memcpy(c.bytes, bytes, (size_t)len);
        node_put(n->pages, offset, c.bytes, len);
    }
    if (size < n->size)
        node_put(n->pages, size, NULL, n->size - size);
    fake_grow((void **)&n->journal, &n->change_cap, n->changes, sizeof(*n->journal));
    n->journal[n->changes++] = c;
    n->size = size;
}

/* ---- names ---- */

struct name *names_find(const struct names *n, const char *path)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->at[i].path, path) == 0)
            return &n->at[i];
    return NULL;
}

static void names_add(struct names *n, const char *path, struct node *node)
{
    fake_grow((void **)&n->at, &n->cap, n->count, sizeof(*n->at));
    struct name *e = &n->at[n->count++];
    snprintf(e->path, sizeof(e->path), "%s", path);
    e->node = node;
    node->refs++;
}

static void names_take(struct names *n, struct name *e)
{
    size_t i = (size_t)(e - n->at);
    node_unref(e->node);
    memmove(e, e + 1, (n->count - i - 1) * sizeof(*e));
    n->count--;
}

bool names_move(struct names *n, const struct move *m)
{
    struct name *to = m->to[0] ? names_find(n, m->to) : NULL;
    if (!m->from[0]) {
        if (to)
            return false;
        names_add(n, m->to, m->node);
        return true;
    }
    struct name *from = names_find(n, m->from);
    if (!from)
        return false;
    if (to)
        names_take(n, to);
    from = names_find(n, m->from);
    if (m->to[0])
        snprintf(from->path, sizeof(from->path), "%s", m->to);
    else
        names_take(n, from);
    return true;
}

void names_free(struct names *n)
{
    while (n->count)
        names_take(n, &n->at[n->count - 1]);
    free(n->at);
}

static size_t directory_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

bool path_in(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    while (n && directory[n - 1] == '/')
        n--;
    return directory_len(path) == n && strncmp(path, directory, n) == 0;
}

/* Whether the directory that it lies in is there. */
static bool parent_is(const struct fake_disk *d, const char *path)
{
    char parent[PATH_MAX_LEN];
    size_t n = directory_len(path);
    if (n == 0)
        return true;
    snprintf(parent, sizeof(parent), "%.*s", (int)n, path);
    struct name *e = names_find(&d->now, parent);
    return e && e->node->directory;
}

static void move_now(struct fake_disk *d, const char *from, const char *to, struct node *node)
{
    struct move m = {.stamp = ++d->stamp, .node = node};
    assert(strlen(from) < sizeof(m.from) && strlen(to) < sizeof(m.to));
    snprintf(m.from, sizeof(m.from), "%s", from);
    snprintf(m.to, sizeof(m.to), "%s", to);
    bool done = names_move(&d->now, &m);
    assert(done);
    (void)done;
    if (node)
        node->refs++;
    fake_grow((void **)&d->moves, &d->move_cap, d->move_count, sizeof(*d->moves));
    d->moves[d->move_count++] = m;
}

static void settle_directory(struct fake_disk *d, const char *path)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->move_count; i++) {
        struct move *m = &d->moves[i];
        if (path_in(m->to[0] ? m->to : m->from, path)) {
            (void)names_move(&d->durable, m);
            node_unref(m->node);
        } else {
            d->moves[kept++] = *m;
        }
    }
    d->move_count = kept;
}

/* ---- entering an operation ---- */

static struct fake_disk *fake(struct disk *k)
{
    return container_of(k, struct fake_disk, base);
}

static enum err failed(struct diag *diag, enum err e, enum fake_op op, const char *path)
{
    return diag_set(diag, e, "%s %s: %s", op_names[op], path, err_name(e));
}

/* Locks, counts; OK, or how the operation fails by plan. */
static enum err enter(struct fake_disk *d, enum fake_op op, const char *path)
{
    pthread_mutex_lock(&d->lock);
    d->counts[op]++;
    if (d->tracing)
        fprintf(stderr, "  %llu %s %s\n", (unsigned long long)d->stamp, op_names[op], path);
    if (d->stopped)
        return ERR_IO;
    if (!(d->fault.ops & FAKE_BIT(op)) || d->hold)
        return OK;
    d->fault_seen++;
    if (d->fault_seen != d->fault.nth && !(d->fault.for_ever && d->fault_seen > d->fault.nth))
        return OK;
    d->fault_fired++;
    if (d->tracing)
        fprintf(stderr, "  ... which fails: %s\n", err_name(d->fault.err));
    return d->fault.err;
}

/* Tells the watcher that this change is half done; ERR_IO: it is the last one. */
static enum err half_done(struct fake_disk *d, enum fake_op op)
{
    if (d->changing) {
        pthread_mutex_unlock(&d->lock);
        d->changing(d->arg, op);
        pthread_mutex_lock(&d->lock);
    }
    if (d->stop_in && --d->stop_in == 0)
        d->stopped = true;
    return d->stopped ? ERR_IO : OK;
}

static enum err leave(struct fake_disk *d, struct diag *diag, enum err e, enum fake_op op, const char *path)
{
    pthread_mutex_unlock(&d->lock);
    return e == OK ? OK : failed(diag, e, op, path);
}

/* ---- room ---- */

/* What has a name, or is open. */
static uint64_t used(const struct fake_disk *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->now.count; i++)
        sum += d->now.at[i].node->reserved;
    list_each(l, tmp, &d->files) {
        const struct disk_file *f = container_of(l, struct disk_file, link);
        bool counted = false;
        for (size_t i = 0; i < d->now.count && !counted; i++)
            counted = d->now.at[i].node == f->node;
        for (struct list *m = d->files.next; m != l && !counted; m = m->next)
            counted = container_of(m, struct disk_file, link)->node == f->node;
        sum += counted ? 0 : f->node->reserved;
    }
    return sum;
}

/* Takes room for a file of this length; ERR_FULL. */
static enum err reserve(struct fake_disk *d, struct node *n, uint64_t bytes)
{
    uint64_t want = (bytes + PAGE - 1) / PAGE * PAGE;
    if (want <= n->reserved)
        return OK;
    if (d->capacity != UINT64_MAX && used(d) - n->reserved + want > d->capacity)
        return ERR_FULL;
    n->reserved = want;
    return OK;
}

/* ---- operations on a file ---- */

static struct disk_file *handle_new(struct fake_disk *d, struct node *n, const char *path, bool writable)
{
    struct disk_file *f = fake_take(sizeof(*f));
    f->node = n;
    f->writable = writable;
    snprintf(f->path, sizeof(f->path), "%s", path);
    n->refs++;
    list_push_back(&d->files, &f->link);
    return f;
}

static void handle_free(struct disk_file *f)
{
    if (f->locked)
        f->node->locked = false;
    list_remove(&f->link);
    node_unref(f->node);
    free(f);
}

static enum err disk_create(struct fake_disk *d, const char *path, struct disk_file **out)
{
    if (names_find(&d->now, path))
        return ERR_EXISTS;
    if (!parent_is(d, path))
        return ERR_NOTFOUND;
    struct node *n = node_new(d, false);
    move_now(d, "", path, n);
    enum err e = half_done(d, FAKE_CREATE);
    if (e == OK)
        *out = handle_new(d, n, path, true);
    node_unref(n);
    return e;
}

static enum err fake_open(struct disk *k, const char *path, enum disk_open how, struct disk_file **out,
                          struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum fake_op op = how == DISK_CREATE ? FAKE_CREATE : FAKE_OPEN;
    enum err e = enter(d, op, path);
    if (e == OK && how == DISK_CREATE) {
        e = disk_create(d, path, out);
    } else if (e == OK) {
        struct name *name = names_find(&d->now, path);
        e = !name ? ERR_NOTFOUND : name->node->directory ? ERR_IO : OK;
        if (e == OK)
            *out = handle_new(d, name->node, path, how == DISK_WRITE);
    }
    return leave(d, diag, e, op, path);
}

static void fake_close(struct disk *k, struct disk_file *f)
{
    struct fake_disk *d = fake(k);
    pthread_mutex_lock(&d->lock);
    handle_free(f);
    pthread_mutex_unlock(&d->lock);
}

static enum err fake_read(struct disk *k, struct disk_file *f, void *to, size_t len, uint64_t offset, size_t *got,
                          struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_READ, f->path);
    if (e == OK) {
        size_t n = offset >= f->node->size ? 0 : (size_t)(f->node->size - offset);
        *got = n < len ? n : len;
        node_get(f->node->pages, offset, to, *got);
    }
    return leave(d, diag, e, FAKE_READ, f->path);
}

static enum err fake_write(struct disk *k, struct disk_file *f, const void *from, size_t len, uint64_t offset,
                           struct diag *diag)
{
    struct fake_disk *d = fake(k);
    assert(f->writable && len > 0);
    enum err e = enter(d, FAKE_WRITE, f->path);
    if (d->tracing)
        fprintf(stderr, "    %zu bytes at %llu\n", len, (unsigned long long)offset);
    enum err room = d->stopped ? ERR_IO : reserve(d, f->node, offset + len);
    if (e == OK)
        e = room;
    bool last = e == OK && d->stop_in == 1; /* the process may die inside */
    size_t part = e == OK && !last ? len : (size_t)prng_below(&d->random, len + last);
    if (room != OK && offset + part > f->node->reserved)
        part = 0;
    if (part && !d->stopped) {
        uint64_t end = offset + part;
        node_change(d, f->node, from, part, offset, end > f->node->size ? end : f->node->size);
    }
    if (!d->stopped && (part || e == OK)) {
        enum err stop = half_done(d, FAKE_WRITE);
        e = e == OK ? stop : e;
    }
    return leave(d, diag, e, FAKE_WRITE, f->path);
}

static enum err fake_sync(struct disk *k, struct disk_file *f, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_SYNC, f->path);
    if (!d->stopped && f->node->sync_failed)
        d->breaches++;
    if (!d->stopped && e == OK)
        e = half_done(d, FAKE_SYNC);
    if (e == OK) {
        node_settle(f->node);
    } else if (!d->stopped) {
        node_settle_some(f->node, &d->random);
        f->node->sync_failed = true;
    }
    return leave(d, diag, e, FAKE_SYNC, f->path);
}

static enum err fake_allocate(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    assert(f->writable);
    enum err e = enter(d, FAKE_ALLOCATE, f->path);
    if (e == OK)
        e = reserve(d, f->node, bytes);
    if (e == OK && bytes > f->node->size) {
        node_change(d, f->node, NULL, 0, 0, bytes);
        e = half_done(d, FAKE_ALLOCATE);
    }
    return leave(d, diag, e, FAKE_ALLOCATE, f->path);
}

static enum err fake_truncate(struct disk *k, struct disk_file *f, uint64_t bytes, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    assert(f->writable);
    enum err e = enter(d, FAKE_TRUNCATE, f->path);
    if (d->tracing)
        fprintf(stderr, "    to %llu bytes\n", (unsigned long long)bytes);
    if (e == OK && bytes != f->node->size) {
        node_change(d, f->node, NULL, 0, 0, bytes);
        f->node->reserved = (bytes + PAGE - 1) / PAGE * PAGE;
        e = half_done(d, FAKE_TRUNCATE);
    }
    return leave(d, diag, e, FAKE_TRUNCATE, f->path);
}

static enum err fake_size(struct disk *k, struct disk_file *f, uint64_t *out, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_SIZE, f->path);
    if (e == OK)
        *out = f->node->size;
    return leave(d, diag, e, FAKE_SIZE, f->path);
}

/* ---- operations on names ---- */

static enum err fake_rename(struct disk *k, const char *from, const char *to, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_RENAME, to);
    assert(directory_len(from) == directory_len(to));
    if (e == OK && !names_find(&d->now, from))
        e = ERR_NOTFOUND;
    if (e == OK) {
        move_now(d, from, to, NULL);
        e = half_done(d, FAKE_RENAME);
    }
    return leave(d, diag, e, FAKE_RENAME, to);
}

static enum err fake_unlink(struct disk *k, const char *path, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_UNLINK, path);
    if (e == OK && !names_find(&d->now, path))
        e = ERR_NOTFOUND;
    if (e == OK) {
        move_now(d, path, "", NULL);
        e = half_done(d, FAKE_UNLINK);
    }
    return leave(d, diag, e, FAKE_UNLINK, path);
}

static enum err fake_make_dir(struct disk *k, const char *path, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_MAKE_DIR, path);
    if (e == OK && !names_find(&d->now, path)) {
        if (!parent_is(d, path)) {
            e = ERR_NOTFOUND;
        } else {
            struct node *n = node_new(d, true);
            move_now(d, "", path, n);
            node_unref(n);
            e = half_done(d, FAKE_MAKE_DIR);
        }
    }
    return leave(d, diag, e, FAKE_MAKE_DIR, path);
}

static enum err fake_sync_dir(struct disk *k, const char *path, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_SYNC_DIR, path);
    if (e == OK && !names_find(&d->now, path) && path[0] && strcmp(path, "/") != 0)
        e = ERR_NOTFOUND;
    if (e == OK)
        e = half_done(d, FAKE_SYNC_DIR);
    if (e == OK)
        settle_directory(d, path);
    return leave(d, diag, e, FAKE_SYNC_DIR, path);
}

static enum err fake_list(struct disk *k, const char *path, void (*visit)(void *arg, const char *name), void *arg,
                          struct diag *diag)
{
    struct fake_disk *d = fake(k);
    struct names found = {0};
    enum err e = enter(d, FAKE_LIST, path);
    if (e == OK && !names_find(&d->now, path))
        e = ERR_NOTFOUND;
    for (size_t i = 0; e == OK && i < d->now.count; i++)
        if (path_in(d->now.at[i].path, path))
            names_add(&found, d->now.at[i].path, d->now.at[i].node);
    uint64_t first = found.count ? prng_below(&d->random, found.count) : 0; /* in any order */
    e = leave(d, diag, e, FAKE_LIST, path);
    for (size_t i = 0; i < found.count; i++)
        visit(arg, strrchr(found.at[(i + first) % found.count].path, '/') + 1);
    pthread_mutex_lock(&d->lock);
    names_free(&found);
    pthread_mutex_unlock(&d->lock);
    return e;
}

static enum err fake_space(struct disk *k, const char *path, uint64_t *available, uint64_t *total, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_SPACE, path);
    if (e == OK) {
        uint64_t taken = used(d);
        *total = d->capacity == UINT64_MAX ? 1ull << 40 : d->capacity;
        *available = taken < *total ? *total - taken : 0;
    }
    return leave(d, diag, e, FAKE_SPACE, path);
}

static enum err fake_writable(struct disk *k, const char *path, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    return leave(d, diag, enter(d, FAKE_WRITABLE, path), FAKE_WRITABLE, path);
}

static enum err fake_lock(struct disk *k, const char *path, struct disk_file **out, struct diag *diag)
{
    struct fake_disk *d = fake(k);
    enum err e = enter(d, FAKE_LOCK, path);
    struct name *name = names_find(&d->now, path);
    if (e == OK && name && name->node->locked)
        e = ERR_CONFLICT;
    if (e == OK && name) {
        *out = handle_new(d, name->node, path, true);
    } else if (e == OK) {
        d->counts[FAKE_CREATE]++;
        e = disk_create(d, path, out);
    }
    if (e == OK)
        (*out)->locked = (*out)->node->locked = true;
    return leave(d, diag, e, FAKE_LOCK, path);
}

static const struct disk_ops ops = {fake_open,     fake_close, fake_read,     fake_write,  fake_sync,     fake_allocate,
                                    fake_truncate, fake_size,  fake_rename,   fake_unlink, fake_make_dir, fake_sync_dir,
                                    fake_list,     fake_space, fake_writable, fake_lock};

/* ---- the disk ---- */

struct fake_disk *fake_disk_new(uint64_t seed)
{
    struct fake_disk *d = fake_take(sizeof(*d));
    d->base.ops = &ops;
    pthread_mutex_init(&d->lock, NULL);
    prng_seed(&d->random, seed);
    list_init(&d->nodes);
    list_init(&d->files);
    d->capacity = UINT64_MAX;
    struct node *data = node_new(d, true);
    names_add(&d->now, "/data", data);
    names_add(&d->durable, "/data", data);
    node_unref(data);
    return d;
}

void fake_disk_free(struct fake_disk *d)
{
    if (!d)
        return;
    list_each(l, tmp, &d->files)
        handle_free(container_of(l, struct disk_file, link));
    names_free(&d->now);
    names_free(&d->durable);
    for (size_t i = 0; i < d->move_count; i++)
        node_unref(d->moves[i].node);
    free(d->moves);
    assert(list_empty(&d->nodes));
    pthread_mutex_destroy(&d->lock);
    free(d);
}

struct disk *fake_disk_base(struct fake_disk *d)
{
    return &d->base;
}

/* The settings and counters may be looked at while the bus's threads work. */
static void take_lock(const struct fake_disk *d)
{
    pthread_mutex_lock(&((struct fake_disk *)d)->lock);
}

static void give_lock(const struct fake_disk *d)
{
    pthread_mutex_unlock(&((struct fake_disk *)d)->lock);
}

void fake_disk_fault(struct fake_disk *d, const struct fake_fault *f)
{
    take_lock(d);
    d->fault = f ? *f : (struct fake_fault){0};
    d->fault_seen = d->fault_fired = 0;
    give_lock(d);
}

void fake_disk_hold_faults(struct fake_disk *d, bool hold)
{
    take_lock(d);
    d->hold = hold;
    give_lock(d);
}

uint64_t fake_disk_faults(const struct fake_disk *d)
{
    take_lock(d);
    uint64_t n = d->fault_fired;
    give_lock(d);
    return n;
}

void fake_disk_stop_after(struct fake_disk *d, uint64_t n)
{
    take_lock(d);
    d->stop_in = n;
    d->stopped = false;
    give_lock(d);
}

bool fake_disk_stopped(const struct fake_disk *d)
{
    take_lock(d);
    bool stopped = d->stopped;
    give_lock(d);
    return stopped;
}

void fake_disk_capacity(struct fake_disk *d, uint64_t bytes)
{
    take_lock(d);
    d->capacity = bytes;
    give_lock(d);
}

uint64_t fake_disk_used(const struct fake_disk *d)
{
    take_lock(d);
    uint64_t n = used(d);
    give_lock(d);
    return n;
}

void fake_disk_watch(struct fake_disk *d, void (*changing)(void *arg, enum fake_op op), void *arg)
{
    take_lock(d);
    d->changing = changing;
    d->arg = arg;
    give_lock(d);
}

uint64_t fake_disk_count(const struct fake_disk *d, unsigned kinds)
{
    uint64_t sum = 0;
    take_lock(d);
    for (unsigned i = 0; i < FAKE_OPS; i++)
        sum += kinds & FAKE_BIT(i) ? d->counts[i] : 0;
    give_lock(d);
    return sum;
}

unsigned fake_disk_breaches(const struct fake_disk *d)
{
    take_lock(d);
    unsigned n = d->breaches;
    give_lock(d);
    return n;
}

void fake_disk_restart(struct fake_disk *d)
{
    take_lock(d);
    list_each(l, tmp, &d->nodes)
        container_of(l, struct node, link)->sync_failed = false;
    give_lock(d);
}

size_t fake_disk_open_files(const struct fake_disk *d)
{
    size_t n = 0;
    take_lock(d);
    list_each(l, tmp, &d->files)
        n++;
    give_lock(d);
    return n;
}

void fake_disk_trace(struct fake_disk *d, bool on)
{
    take_lock(d);
    d->tracing = on;
    give_lock(d);
}

bool fake_disk_traced(const struct fake_disk *d)
{
    take_lock(d);
    bool on = d->tracing;
    give_lock(d);
    return on;
}

/* ---- files as a whole ---- */

void fake_disk_each(struct fake_disk *d, void (*visit)(void *arg, const char *path), void *arg)
{
    for (size_t i = 0; i < d->now.count; i++) {
        char path[PATH_MAX_LEN + 1];
        snprintf(path, sizeof(path), "%s%s", d->now.at[i].path, d->now.at[i].node->directory ? "/" : "");
        visit(arg, path);
    }
}

bool fake_disk_exists(struct fake_disk *d, const char *path)
{
    return names_find(&d->now, path) != NULL;
}

uint64_t fake_disk_size(struct fake_disk *d, const char *path)
{
    struct name *e = names_find(&d->now, path);
    return e ? e->node->size : 0;
}

bool fake_disk_get(struct fake_disk *d, const char *path, unsigned char **bytes, size_t *len)
{
    struct name *e = names_find(&d->now, path);
    if (!e || e->node->directory)
        return false;
    *len = (size_t)e->node->size;
    *bytes = fake_take(*len);
    node_get(e->node->pages, 0, *bytes, *len);
    return true;
}

/* Files as a whole are synced, and so are the names there are. */
static void settle_names(struct fake_disk *d)
{
    for (size_t i = 0; i < d->move_count; i++) {
        (void)names_move(&d->durable, &d->moves[i]);
        node_unref(d->moves[i].node);
    }
    d->move_count = 0;
}

void fake_disk_put(struct fake_disk *d, const char *path, const void *bytes, size_t len)
{
    fake_disk_remove(d, path);
    assert(parent_is(d, path));
    struct node *n = node_new(d, false);
    names_add(&d->now, path, n);
    names_add(&d->durable, path, n);
    node_change(d, n, bytes, len, 0, len);
    (void)reserve(d, n, len);
    node_settle(n);
    node_unref(n);
}

void fake_disk_remove(struct fake_disk *d, const char *path)
{
    settle_names(d);
    struct name *e = names_find(&d->now, path);
    if (e)
        names_take(&d->now, e);
    e = names_find(&d->durable, path);
    if (e)
        names_take(&d->durable, e);
}

void fake_disk_flip(struct fake_disk *d, const char *path, uint64_t offset, unsigned char bits)
{
    struct name *e = names_find(&d->now, path);
    assert(e && offset < e->node->size);
    unsigned char byte;
    node_get(e->node->pages, offset, &byte, 1);
    byte ^= bits;
    node_put(e->node->pages, offset, &byte, 1);
    node_put(e->node->disk_pages, offset, &byte, 1);
}
