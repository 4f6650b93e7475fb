/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Kubernetes source has told its sink: up to which version of each place, and which objects it knows there.
 * Kept in a file that is appended to, a line for each thing, fields apart by blanks and percent-coded:
 *
 *     leat kubernetes 1
 *     P NUMBER KEY                        a place, by a number; from here on it is empty, and at no version
 *     O NUMBER VERSION UID KEY            an object, as the sink knows it
 *     D NUMBER KEY                        it is known no more
 *     V NUMBER VERSION                    everything up to this version was told
 *     F NUMBER                            the place is forgotten
 *
 * A last line without its end was cut by a crash, and is cut off. The objects of a line O or D were told before the
 * line V behind it: without that they are told once more, and known again by their versions. When the file has grown to
 * several times what it says it is written anew beside itself and renamed. Lines are handed to the system at once, and
 * forced to disk with each new file: a machine that loses its power tells the last changes twice.
 *
 * One process at a time has the file: it is locked for as long as it is open. On one loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kubernetes.h"
#include "text.h"

#define HEAD "leat kubernetes 1\n"
#define FILE_MAX (256u << 20) /* of what is read at a start: places in hundreds, each full */
#define PLACES_MAX 16384
#define GROWN_LEAST (256u << 10) /* a smaller file is not written anew */
#define LINE_MAX_BYTES 8192

struct kubernetes_state {
    struct map places; /* key → struct kubernetes_place_state */
    char *path;
    int fd; /* -1: nothing is kept, or the file is broken */
    unsigned next_number;
    size_t bytes, written; /* of the file; when it was written whole last */
    char trouble[400];
};

/* ---- lines ---- */

static void put_field(struct buf *b, const char *value)
{
    buf_put_char(b, ' ');
    kube_put_query(b, slice_str(value));
}

static void put_object(struct buf *b, const struct kubernetes_place_state *p, const char *key,
                       const struct kubernetes_known *k)
{
    buf_printf(b, "O %u %llu", p->number, (unsigned long long)k->version);
    put_field(b, k->uid);
    put_field(b, key);
    buf_put_char(b, '\n');
}

static void put_known(struct buf *b, const struct kubernetes_place_state *p, const char *key,
                      const struct kubernetes_known *k)
{
    if (k->version) /* else it is on its way, and not told */
        put_object(b, p, key, k);
}

static void put_position(struct buf *b, const struct kubernetes_place_state *p)
{
    buf_printf(b, "V %u %llu\n", p->number, (unsigned long long)p->position);
}

static void put_place(struct buf *b, const struct kubernetes_place_state *p)
{
    buf_printf(b, "P %u", p->number);
    put_field(b, p->key);
    buf_put_char(b, '\n');
}

/* ---- in memory ---- */

static void free_known(struct kubernetes_place_state *p)
{
    map_each(e, tmp, &p->known)
        free(e->value);
    map_fini(&p->known);
}

static void free_place(struct kubernetes_place_state *p)
{
    free_known(p);
    free(p->key);
    free(p);
}

static struct kubernetes_place_state *add_place(struct kubernetes_state *s, const char *key, unsigned number)
{
    struct kubernetes_place_state *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    map_init(&p->known, KUBERNETES_KNOWN_MAX);
    p->number = number;
    p->key = strdup(key);
    if (!p->key || map_add(&s->places, slice_str(key), p) != OK) {
        free_place(p);
        return NULL;
    }
    s->next_number = number >= s->next_number ? number + 1 : s->next_number;
    return p;
}

void kubernetes_state_take(struct kubernetes_place_state *p, const char *key, const char *uid, uint64_t version,
                           bool gone)
{
    struct kubernetes_known *k = map_get(&p->known, slice_str(key));
    if (!k && gone)
        return;
    if (!k) {
        k = calloc(1, sizeof *k);
        if (!k || map_add(&p->known, slice_str(key), k) != OK) {
            free(k);
            p->incomplete = true;
            return;
        }
    }
    k->latest = version;
    k->seen = true;
    k->going = gone;
    snprintf(k->uid, sizeof k->uid, "%s", uid);
}

static void drop_known(struct kubernetes_place_state *p, const char *key)
{
    free(map_remove(&p->known, slice_str(key)));
}

/* The sink knows the object; NULL when there is no room for it. */
static const struct kubernetes_known *known_at(struct kubernetes_place_state *p, const char *key, const char *uid,
                                               uint64_t version)
{
    struct kubernetes_known *k = map_get(&p->known, slice_str(key));
    if (!k)
        kubernetes_state_take(p, key, uid, version, false);
    k = map_get(&p->known, slice_str(key));
    if (k)
        k->version = version;
    return k;
}

/* The sink knows that the object is gone; perhaps another of its name is on its way. */
static void gone_at(struct kubernetes_place_state *p, const char *key)
{
    struct kubernetes_known *k = map_get(&p->known, slice_str(key));
    if (k && k->going)
        drop_known(p, key);
    else if (k)
        k->version = 0;
}

void kubernetes_state_clear(struct kubernetes_place_state *p)
{
    free_known(p);
    p->incomplete = false;
}

/* ---- reading ---- */

struct reading {
    struct kubernetes_state *s;
    struct kubernetes_place_state **places; /* by number */
    size_t place_count;
    char field[LINE_MAX_BYTES];
};

static bool next_number(struct slice *rest, uint64_t *out)
{
    return decimal_parse(slice_split(rest, ' '), INT64_MAX, out) == OK;
}

/* The next field, decoded, in r->field at `at`; false: there is none, or it is wrong. */
static const char *next_text(struct reading *r, struct slice *rest, size_t at)
{
    struct buf b;
    struct slice coded = slice_split(rest, ' ');
    buf_init(&b, LINE_MAX_BYTES);
    bool good = coded.ptr && percent_decode(coded, &b) == OK && at + b.len < sizeof r->field;
    if (good && b.len)
        memcpy(r->field + at, b.ptr, b.len);
    r->field[good ? at + b.len : at] = '\0';
    buf_fini(&b);
    return good ? r->field + at : NULL;
}

static struct kubernetes_place_state *numbered(const struct reading *r, uint64_t number)
{
    return number < r->place_count ? r->places[number] : NULL;
}

static enum err read_place(struct reading *r, uint64_t number, const char *key)
{
    if (!key || number >= PLACES_MAX || numbered(r, number))
        return ERR_CORRUPT;
    struct kubernetes_place_state *p = map_get(&r->s->places, slice_str(key));
    if (p)
        return ERR_CORRUPT;
    if (number >= r->place_count) {
        struct kubernetes_place_state **more = realloc(r->places, (number + 1) * sizeof *more);
        if (!more)
            return ERR_NOMEM;
        for (size_t i = r->place_count; i <= number; i++)
            more[i] = NULL;
        r->places = more;
        r->place_count = number + 1;
    }
    r->places[number] = add_place(r->s, key, (unsigned)number);
    return r->places[number] ? OK : ERR_NOMEM;
}

static enum err read_line(struct reading *r, struct slice line)
{
    struct slice rest = line, word = slice_split(&rest, ' ');
    uint64_t number, version = 0;
    if (word.len != 1 || !next_number(&rest, &number))
        return ERR_CORRUPT;
    if (*word.ptr == 'P')
        return read_place(r, number, next_text(r, &rest, 0));
    struct kubernetes_place_state *p = numbered(r, number);
    if (!p || (strchr("OV", *word.ptr) && !next_number(&rest, &version)))
        return ERR_CORRUPT;
    const char *uid = "", *key;
    switch (*word.ptr) {
    case 'V':
        p->position = version;
        return OK;
    case 'F':
        r->places[number] = NULL;
        map_remove(&r->s->places, slice_str(p->key));
        free_place(p);
        return OK;
    case 'O':
        uid = next_text(r, &rest, 0);
        key = uid ? next_text(r, &rest, strlen(uid) + 1) : NULL;
        if (key) {
            kubernetes_state_take(p, key, uid, version, false);
            known_at(p, key, uid, version);
        }
        return key ? OK : ERR_CORRUPT;
    case 'D':
        key = next_text(r, &rest, 0);
        if (key)
            drop_known(p, key);
        return key ? OK : ERR_CORRUPT;
    default:
        return ERR_CORRUPT;
    }
}

/* *good: how many bytes are whole lines. */
static enum err read_lines(struct kubernetes_state *s, struct slice text, size_t *good, struct diag *d)
{
    struct reading *r = calloc(1, sizeof *r);
    enum err e = r ? OK : ERR_NOMEM;
    size_t line = 1;
    *good = 0;
    if (r)
        r->s = s;
    for (size_t n; e == OK && text.len; line++, *good += n) {
        const char *end = memchr(text.ptr, '\n', text.len);
        if (!end)
            break;
        n = (size_t)(end - text.ptr) + 1;
        struct slice whole = slice_of(text.ptr, n);
        text = slice_from(text, n);
        if (line > 1)
            e = n < LINE_MAX_BYTES ? read_line(r, slice_of(whole.ptr, n - 1)) : ERR_CORRUPT;
        else if (!slice_eq(whole, SLICE(HEAD)))
            e = slice_has_prefix(whole, SLICE("leat kubernetes ")) ? ERR_UNSUPPORTED : ERR_CORRUPT;
    }
    if (e == ERR_UNSUPPORTED)
        diag_set(d, e, "%.300s was written by a newer leat", s->path);
    else if (e == ERR_CORRUPT)
        diag_set(
            d, e,
            "%.300s, line %zu: it is not what this source wrote; move the file away to begin with what is there now",
            s->path, line - 1);
    if (r)
        free(r->places);
    free(r);
    return e;
}

static enum err read_all(struct kubernetes_state *s, struct diag *d)
{
    struct stat st;
    size_t good = 0;
    if (fstat(s->fd, &st) != 0 || st.st_size > FILE_MAX)
        return diag_set(d, ERR_CORRUPT, "%.300s is no file of a few megabytes", s->path);
    char *text = malloc((size_t)st.st_size + 1);
    ssize_t n = text ? pread(s->fd, text, (size_t)st.st_size, 0) : -1;
    enum err e = !text ? ERR_NOMEM : n != st.st_size ? diag_set(d, ERR_IO, "%.300s cannot be read", s->path) : OK;
    if (e == OK)
        e = read_lines(s, slice_of(text, (size_t)n), &good, d);
    free(text);
    if (e == OK && good < (size_t)st.st_size && ftruncate(s->fd, (off_t)good) != 0)
        e = diag_set(d, ERR_IO, "%.300s cannot be written: %s", s->path, strerror(errno));
    s->bytes = s->written = good;
    return e;
}

/* ---- writing ---- */

static void broken(struct kubernetes_state *s, const char *what)
{
    snprintf(s->trouble, sizeof s->trouble,
             "%.150s: %.40s: %.80s; after a restart what happened meanwhile is found by comparing", s->path, what,
             strerror(errno));
}

static bool write_all(int fd, struct slice bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = slice_from(bytes, (size_t)n);
    }
    return true;
}

/* Everything, into a file beside this one that takes its place. */
static void write_anew(struct kubernetes_state *s)
{
    struct buf b;
    char path[4200];
    if (!s->path)
        return;
    buf_init(&b, FILE_MAX);
    buf_put_str(&b, HEAD);
    s->next_number = 0;
    map_each(e, tmp, &s->places) {
        struct kubernetes_place_state *p = e->value;
        p->number = s->next_number++;
        put_place(&b, p);
        map_each(o, tmp2, &p->known)
            put_known(&b, p, o->key.ptr, o->value);
        put_position(&b, p);
    }
    snprintf(path, sizeof path, "%s.new", s->path);
    int fd = buf_error(&b) == OK ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && write_all(fd, buf_slice(&b)) && fdatasync(fd) == 0 &&
        rename(path, s->path) == 0) {
        if (s->fd >= 0)
            close(s->fd);
        s->fd = fd;
        s->bytes = s->written = b.len;
        s->trouble[0] = '\0';
    } else {
        broken(s, "it cannot be written anew");
        if (fd >= 0)
            close(fd);
    }
    buf_fini(&b);
}

static void append(struct kubernetes_state *s, const struct buf *b)
{
    if (!s->path)
        return;
    if (s->trouble[0] || s->bytes > GROWN_LEAST + 4 * s->written || buf_error(b) != OK) {
        write_anew(s); /* what is to be appended is in memory already */
        return;
    }
    if (write_all(s->fd, buf_slice(b))) {
        s->bytes += b->len;
        return;
    }
    broken(s, "it cannot be written");
}

void kubernetes_state_settle(struct kubernetes_state *s, struct kubernetes_place_state *p, const char *key,
                             const char *uid, uint64_t version, bool gone, uint64_t position)
{
    struct buf b;
    buf_init(&b, 4 * LINE_MAX_BYTES);
    if (key && gone) {
        gone_at(p, key);
        buf_printf(&b, "D %u", p->number);
        put_field(&b, key);
        buf_put_char(&b, '\n');
    } else if (key) {
        const struct kubernetes_known *k = known_at(p, key, uid, version);
        if (k)
            put_object(&b, p, key, k);
    }
    if (position > p->position) {
        p->position = position;
        put_position(&b, p);
    }
    if (b.len)
        append(s, &b);
    buf_fini(&b);
}

void kubernetes_state_baseline(struct kubernetes_state *s, struct kubernetes_place_state *p, uint64_t position)
{
    p->position = position;
    map_each(e, tmp, &p->known) {
        struct kubernetes_known *k = e->value;
        k->version = k->latest;
    }
    write_anew(s);
}

struct kubernetes_place_state *kubernetes_state_place(struct kubernetes_state *s, const char *key)
{
    struct kubernetes_place_state *p = map_get(&s->places, slice_str(key));
    struct buf b;
    if (p)
        return p;
    if (s->next_number >= PLACES_MAX)
        write_anew(s); /* with numbers from 0 on */
    p = add_place(s, key, s->next_number);
    if (!p)
        return NULL;
    buf_init(&b, 2 * LINE_MAX_BYTES);
    put_place(&b, p);
    append(s, &b);
    buf_fini(&b);
    return p;
}

void kubernetes_state_forget(struct kubernetes_state *s, struct kubernetes_place_state *p)
{
    struct buf b;
    buf_init(&b, 64);
    buf_printf(&b, "F %u\n", p->number);
    map_remove(&s->places, slice_str(p->key));
    free_place(p);
    append(s, &b);
    buf_fini(&b);
}

const char *kubernetes_state_trouble(const struct kubernetes_state *s)
{
    return s->trouble;
}

/* ---- life ---- */

void kubernetes_state_free(struct kubernetes_state *s)
{
    if (!s)
        return;
    map_each(e, tmp, &s->places)
        free_place(e->value);
    map_fini(&s->places);
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s);
}

/* The folder that the file lies in, not those above it. */
static void make_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof folder)
        return;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    (void)!mkdir(folder, 0700);
}

static enum err open_file(struct kubernetes_state *s, struct diag *d)
{
    make_folder(s->path);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return diag_set(d, errno == EACCES ? ERR_DENIED : ERR_IO, "%.300s cannot be opened: %s", s->path,
                        strerror(errno));
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return diag_set(d, ERR_EXISTS, "%.300s is in use: another process runs this source", s->path);
    enum err e = read_all(s, d);
    if (e == OK && s->bytes == 0) {
        write_anew(s);
        if (s->trouble[0])
            e = diag_set(d, ERR_IO, "%s", s->trouble);
    }
    return e;
}

enum err kubernetes_state_open(const char *path, struct kubernetes_state **out, struct diag *d)
{
    struct kubernetes_state *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->fd = -1;
    map_init(&s->places, PLACES_MAX);
    s->path = path ? strdup(path) : NULL;
    enum err e = path && !s->path ? ERR_NOMEM : path ? open_file(s, d) : OK;
    if (e != OK) {
        kubernetes_state_free(s);
        return e;
    }
    *out = s;
    return OK;
}
