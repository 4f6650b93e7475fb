/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's part of the HTTP client: it resolves, connects, shakes hands and passes proxies (CURLOPT_CONNECT_ONLY),
 * driven by its multi interface within our loop. From then on it only lends its socket, and its TLS by curl_easy_send
 * and curl_easy_recv.
 *
 * The hand-over: libcurl watches a socket while it connects, and then forgets about it. While it does, our loop watches
 * a duplicate of its descriptor: libcurl closes sockets that failed before it says that they are to be watched no more,
 * and may have another by the same number by then. The easy handle stays in the multi for as long as the connection
 * lives: taken out, libcurl closes it. libcurl may also close an open connection on its own
 * (CURLOPT_CLOSESOCKETFUNCTION tells): that is then found lost at the end of the turn.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_pool.h"

/* Ten years: libcurl's 118 s would close connections under us that, for all it knows, never sent. */
#define MAX_AGE_S 315360000L
#define CACHE_CONNECTIONS 1000000L  /* the bound is ours, per origin */
#define TLS_PIECE_BYTES (16u << 10) /* one record */

/* ---- driving libcurl ---- */

static void report_connections(struct http_client *c);

static void run_curl(struct http_client *c, curl_socket_t fd, int what)
{
    int running;
    CURLMcode code = curl_multi_socket_action(c->multi, fd, what, &running);
    assert(code == CURLM_OK || code == CURLM_OUT_OF_MEMORY || code == CURLM_BAD_SOCKET);
    report_connections(c);
}

static void curl_timer_due(struct loop_timer *t)
{
    run_curl(container_of(t, struct http_client, curl_timer), CURL_SOCKET_TIMEOUT, 0);
}

static void curl_socket_ready(struct loop_watch *w, uint32_t events)
{
    struct curl_watch *cw = container_of(w, struct curl_watch, watch);
    int what = (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? CURL_CSELECT_IN : 0) |
               (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (events & EPOLLERR ? CURL_CSELECT_ERR : 0);
    run_curl(cw->connection->origin->client, cw->fd, what);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct http_client *c = arg;
    if (timeout_ms < 0)
        loop_timer_stop(c->loop, &c->curl_timer);
    else
        loop_timer_start(c->loop, &c->curl_timer, (uint64_t)timeout_ms * NS_PER_MS);
    return 0;
}

static void give_up(struct http_connection *k)
{
    struct http_client *c = k->origin->client;
    list_remove(&k->lost_link);
    list_push_back(&c->lost, &k->lost_link);
    loop_defer(c->loop, &c->lost_task);
}

static void watch_stop(struct curl_watch *cw)
{
    int duplicate = cw->watch.fd;
    if (duplicate < 0)
        return;
    loop_watch_remove(cw->connection->origin->client->loop, &cw->watch);
    close(duplicate);
}

static enum err watch_start(struct curl_watch *cw, uint32_t events)
{
    int duplicate = fcntl(cw->fd, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0)
        return ERR_IO;
    enum err e = loop_watch_add(cw->connection->origin->client->loop, &cw->watch, duplicate, events, curl_socket_ready);
    if (e)
        close(duplicate);
    return e;
}

/* The watch of libcurl's descriptor `fd`; -1: one that is free. */
static struct curl_watch *find_watch(struct http_connection *k, int fd)
{
    for (size_t i = 0; i < HTTP_CURL_WATCHES; i++)
        if (k->curl_watches[i].fd == fd)
            return &k->curl_watches[i];
    return NULL;
}

/* Always 0: a failure here would be the end of the whole multi handle, so it ends the connection instead. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_client *c = arg;
    struct curl_watch *cw = socket_arg;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (what == CURL_POLL_REMOVE) {
        if (cw) {
            watch_stop(cw);
            cw->fd = -1;
        }
        return 0;
    }
    if (cw) {
        if (cw->watch.fd >= 0 && loop_watch_change(c->loop, &cw->watch, events) != OK)
            give_up(cw->connection);
        return 0;
    }
    char *private = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct http_connection *k = (struct http_connection *)(void *)private;
    cw = find_watch(k, -1);
    if (!cw) {
        give_up(k);
        return 0;
    }
    cw->fd = fd;
    curl_multi_assign(c->multi, fd, cw);
    if (watch_start(cw, events) != OK)
        give_up(k);
    return 0;
}

/* ---- sockets ---- */

/* As libcurl would, but closed on exec: sources run child processes. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    struct http_connection *k = arg;
    struct curl_watch *old = fd < 0 ? NULL : find_watch(k, fd);
    /* libcurl has closed that one, and will not say so, since by the number it is watching it already. */
    if (old) {
        watch_stop(old);
        if (watch_start(old, old->watch.events) != OK)
            give_up(k);
    }
    return fd;
}

static int close_socket(void *arg, curl_socket_t fd)
{
    struct http_connection *k = arg;
    if (k->watch.fd == fd) {
        loop_watch_remove(k->origin->client->loop, &k->watch);
        k->watch.fd = -1;
        give_up(k);
    }
    return close(fd);
}

static void find_lost(struct loop_task *t)
{
    struct http_client *c = container_of(t, struct http_client, lost_task);
    for (struct list *l; (l = list_pop_front(&c->lost));) {
        struct http_connection *k = container_of(l, struct http_connection, lost_link);
        if (k->open)
            http_connection_lost(k);
        else
            http_pool_unreachable(k, ERR_UNAVAILABLE, "the connection's socket cannot be watched");
    }
}

/* ---- results ---- */

static enum err failure(struct http_connection *k, CURLcode code, char *text, size_t size)
{
    const char *name = k->origin->name, *said = k->curl_error[0] ? k->curl_error : curl_easy_strerror(code);
    const char *by = k->origin->client->options.proxy ? "the proxy" : name;
    long reason = 0, milliseconds = (long)(k->origin->client->options.connect_timeout_ns / NS_PER_MS);
    curl_easy_getinfo(k->easy, CURLINFO_OS_ERRNO, &reason);
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        snprintf(text, size, "no memory");
        return ERR_NOMEM;
    case CURLE_COULDNT_RESOLVE_HOST:
        snprintf(text, size, "the name %s cannot be resolved", k->origin->host);
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
        snprintf(text, size, "the proxy's name cannot be resolved");
        break;
    case CURLE_COULDNT_CONNECT:
        if (reason == ECONNREFUSED)
            snprintf(text, size, "connection refused by %s", by);
        else
            snprintf(text, size, "no connection to %s: %s", by, reason ? strerror((int)reason) : said);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        if (milliseconds % 1000)
            snprintf(text, size, "no connection to %s within %ld ms", name, milliseconds);
        else
            snprintf(text, size, "no connection to %s within %ld s", name, milliseconds / 1000);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        snprintf(text, size, "the certificate of %s is not trusted: %s", name, said);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        snprintf(text, size, "the file of trusted certificates cannot be read: %s", said);
        break;
    default:
        snprintf(text, size, "no connection to %s: %s", name, said);
    }
    return ERR_UNAVAILABLE;
}

static void connected(struct http_connection *k)
{
    struct http_client *c = k->origin->client;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(k->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD) {
        http_pool_unreachable(k, ERR_UNAVAILABLE, "the connection was closed as soon as it was made");
        return;
    }
    struct curl_watch *cw = find_watch(k, fd);
    if (cw)
        watch_stop(cw);
    if (loop_watch_add(c->loop, &k->watch, fd, EPOLLIN, http_connection_ready) != OK) {
        k->watch.fd = -1;
        http_pool_unreachable(k, ERR_UNAVAILABLE, "the connection's socket cannot be watched");
        return;
    }
    http_pool_connected(k);
}

static void report_connections(struct http_client *c)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
        CURLcode code = m->data.result;
        char *private = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        struct http_connection *k = (struct http_connection *)(void *)private;
        if (code == CURLE_OK) {
            connected(k);
        } else {
            enum err e = failure(k, code, c->detail, sizeof(c->detail));
            http_pool_unreachable(k, e, c->detail);
        }
    }
}

/* ---- connections ---- */

static bool set_proxy(const struct http_client *c, CURL *h)
{
    bool ok = true;
    const char *proxy = c->options.proxy;
    /* Both, because an empty value is what hides the environment's. */
    ok &= curl_easy_setopt(h, CURLOPT_PROXY, proxy ? proxy : "") == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_NOPROXY, proxy ? "" : "*") == CURLE_OK;
    if (proxy)
        ok &= curl_easy_setopt(h, CURLOPT_HTTPPROXYTUNNEL, 1L) == CURLE_OK; /* what we write is origin-form */
    return ok;
}

static bool set_tls(const struct http_client *c, CURL *h)
{
    bool ok = true;
    if (c->options.ca_file) {
        ok &= curl_easy_setopt(h, CURLOPT_CAINFO, c->options.ca_file) == CURLE_OK;
        ok &= curl_easy_setopt(h, CURLOPT_PROXY_CAINFO, c->options.ca_file) == CURLE_OK;
    }
    if (c->options.certificate_file)
        ok &= curl_easy_setopt(h, CURLOPT_SSLCERT, c->options.certificate_file) == CURLE_OK;
    if (c->options.key_file)
        ok &= curl_easy_setopt(h, CURLOPT_SSLKEY, c->options.key_file) == CURLE_OK;
    if (c->options.insecure) {
        ok &= curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L) == CURLE_OK;
        ok &= curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK;
        ok &= curl_easy_setopt(h, CURLOPT_PROXY_SSL_VERIFYPEER, 0L) == CURLE_OK;
        ok &= curl_easy_setopt(h, CURLOPT_PROXY_SSL_VERIFYHOST, 0L) == CURLE_OK;
    }
    return ok;
}

static bool set_options(struct http_connection *k, const char *url)
{
    const struct http_client *c = k->origin->client;
    CURL *h = k->easy;
    bool ok = true;
    ok &= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_URL, url) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK; /* else ALPN takes h2 */
    ok &= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L) ==
          CURLE_OK; /* else a silent DNS server blocks the loop when we give up */
    ok &= curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, MAX_AGE_S) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 1024L) == CURLE_OK; /* we receive into our own */
    ok &= curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->options.connect_timeout_ns / NS_PER_MS)) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, k) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_CLOSESOCKETFUNCTION, close_socket) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_CLOSESOCKETDATA, k) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_PRIVATE, k) == CURLE_OK;
    ok &= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, k->curl_error) == CURLE_OK;
    return ok && set_proxy(c, h) && set_tls(c, h);
}

static enum err add_handle(struct http_connection *k)
{
    char url[320]; /* a host has at most 255 characters */
    const struct http_origin *o = k->origin;
    bool brackets = strchr(o->host, ':') != NULL;
    snprintf(url, sizeof(url), "%s://%s%s%s:%u/", o->tls ? "https" : "http", brackets ? "[" : "", o->host,
             brackets ? "]" : "", o->port);
    k->easy = curl_easy_init();
    if (!k->easy)
        return ERR_NOMEM;
    if (set_options(k, url) && curl_multi_add_handle(o->client->multi, k->easy) == CURLM_OK)
        return OK;
    curl_easy_cleanup(k->easy);
    return ERR_NOMEM;
}

enum err http_connection_open(struct http_origin *o)
{
    struct http_connection *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    k->origin = o;
    k->watch.fd = -1;
    list_init(&k->link);
    list_init(&k->lost_link);
    for (size_t i = 0; i < HTTP_CURL_WATCHES; i++)
        k->curl_watches[i] = (struct curl_watch){.watch.fd = -1, .connection = k, .fd = -1};
    enum err e = add_handle(k);
    if (e) {
        free(k);
        return e;
    }
    list_push_back(&o->connecting, &k->link);
    o->connecting_count++;
    o->client->stats.connections_opened++;
    o->client->stats.connections_open++;
    return OK;
}

void http_connection_close(struct http_connection *k)
{
    assert(!k->exchange);
    struct http_origin *o = k->origin;
    unsigned *count = k->open ? &o->open_count : &o->connecting_count;
    assert(*count > 0);
    (*count)--;
    o->client->stats.connections_open--;
    /* Given up in the middle of a request: without a reset the kernel would go on sending what it holds. */
    if (k->blocked && k->watch.fd >= 0)
        setsockopt(k->watch.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    loop_watch_remove(o->client->loop, &k->watch);
    k->watch.fd = -1;
    for (size_t i = 0; i < HTTP_CURL_WATCHES; i++)
        watch_stop(&k->curl_watches[i]);
    list_remove(&k->link);
    curl_multi_remove_handle(o->client->multi, k->easy); /* closes the socket, while close_socket can still use k */
    curl_easy_cleanup(k->easy);
    for (size_t i = 0; i < HTTP_CURL_WATCHES; i++)
        assert(k->curl_watches[i].fd < 0);
    list_remove(&k->lost_link);
    buf_fini(&k->in);
    free(k);
}

/* ---- bytes ---- */

enum err http_connection_receive(struct http_connection *k, char *to, size_t cap, size_t *n)
{
    if (k->watch.fd < 0)
        return ERR_UNAVAILABLE;
    if (k->origin->tls) {
        CURLcode code = curl_easy_recv(k->easy, to, cap, n);
        return code == CURLE_OK ? OK : code == CURLE_AGAIN ? ERR_PENDING : ERR_UNAVAILABLE;
    }
    ssize_t got;
    do
        got = recv(k->watch.fd, to, cap, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_PENDING : ERR_UNAVAILABLE;
    *n = (size_t)got;
    return OK;
}

/* TLS has no gathering write, and a write that would block must be repeated with the same bytes: so one piece at a
 * time, at most a record. */
static enum err send_tls(struct http_connection *k, struct slice head, struct slice body, size_t *n)
{
    struct slice piece = k->sent < head.len ? slice_from(head, k->sent) : slice_from(body, k->sent - head.len);
    CURLcode code = curl_easy_send(k->easy, piece.ptr, piece.len < TLS_PIECE_BYTES ? piece.len : TLS_PIECE_BYTES, n);
    return code == CURLE_OK ? OK : code == CURLE_AGAIN ? ERR_PENDING : ERR_UNAVAILABLE;
}

enum err http_connection_send(struct http_connection *k, struct slice head, struct slice body, size_t *n)
{
    if (k->watch.fd < 0)
        return ERR_UNAVAILABLE;
    if (k->origin->tls)
        return send_tls(k, head, body, n);
    struct iovec iov[2];
    size_t count = 0;
    if (k->sent < head.len) {
        struct slice s = slice_from(head, k->sent);
        iov[count++] = (struct iovec){(void *)(uintptr_t)s.ptr, s.len};
    }
    if (body.len) {
        struct slice s = slice_from(body, k->sent > head.len ? k->sent - head.len : 0);
        iov[count++] = (struct iovec){(void *)(uintptr_t)s.ptr, s.len};
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t put;
    do
        put = sendmsg(k->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_PENDING : ERR_UNAVAILABLE;
    *n = (size_t)put;
    return OK;
}

/* ---- the client's share of libcurl ---- */

enum err http_connect_init(struct http_client *c)
{
    loop_timer_init(&c->curl_timer, curl_timer_due);
    loop_task_init(&c->lost_task, find_lost);
    list_init(&c->lost);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ERR_NOMEM;
    c->multi = curl_multi_init();
    if (c->multi && curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) == CURLM_OK &&
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) == CURLM_OK &&
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CACHE_CONNECTIONS) == CURLM_OK)
        return OK;
    http_connect_fini(c);
    return ERR_NOMEM;
}

void http_connect_fini(struct http_client *c)
{
    curl_multi_cleanup(c->multi);
    loop_timer_stop(c->loop, &c->curl_timer);
    loop_task_cancel(&c->lost_task);
    curl_global_cleanup();
}
