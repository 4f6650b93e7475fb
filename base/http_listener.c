/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets, on the control loop: accepts and deals to the servers in turn, so that load is spread evenly
 * with few clients too.
 *
 * A name that has several addresses ("localhost") gets a socket for each, all on one port. When descriptors run out,
 * accept fails while the sockets stay readable: accepting then pauses for PAUSE_NS instead of spinning, and clients
 * wait in the backlog. It pauses before that, with DESCRIPTORS_KEPT left: whoever opens connections without end must
 * not keep the log from its next file.
 */
#include "http_connection.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define SOCKETS_MAX 8
#define BACKLOG 1024
#define ACCEPTS_MAX 64 /* per socket and turn, so that a flood of connections does not starve the control loop */
#define PAUSE_NS (100 * NS_PER_MS)
#define DESCRIPTORS_KEPT 64 /* a quarter of them where there are few */
#define PORT_TRIES 16       /* port 0 with several addresses: the port that the first got may be taken at another */

struct socket {
    struct loop_watch watch;
    struct http_listener *listener;
};

struct http_listener {
    struct loop *loop;
    struct socket sockets[SOCKETS_MAX];
    size_t socket_count;
    struct http_inbox **inboxes; /* owned, each counted */
    size_t inbox_count, next;
    struct loop_timer pause;
    char address[80];
};

/* ---- accepting ---- */

static bool out_of_descriptors(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void pause_all(struct http_listener *l)
{
    for (size_t i = 0; i < l->socket_count; i++)
        if (loop_watch_change(l->loop, &l->sockets[i].watch, 0) != OK)
            return; /* that socket fails again and pauses again */
    loop_timer_start(l->loop, &l->pause, PAUSE_NS);
}

static void resume_all(struct loop_timer *t)
{
    struct http_listener *l = container_of(t, struct http_listener, pause);
    for (size_t i = 0; i < l->socket_count; i++)
        if (loop_watch_change(l->loop, &l->sockets[i].watch, EPOLLIN) != OK)
            loop_timer_start(l->loop, t, PAUSE_NS);
}

/* The last descriptors are for what must go on: files that are opened, connections to elsewhere. The next one is the
 * lowest that is free, so its number tells how many are left, whoever has them. */
static bool few_left(int fd)
{
    struct rlimit limit;
    int next = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (next < 0)
        return true;
    close(next);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    rlim_t kept = limit.rlim_cur / 4 < DESCRIPTORS_KEPT ? limit.rlim_cur / 4 : DESCRIPTORS_KEPT;
    return (rlim_t)next >= limit.rlim_cur - kept;
}

static void accept_some(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct http_listener *l = container_of(w, struct socket, watch)->listener;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        if (few_left(w->fd)) {
            pause_all(l);
            return;
        }
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (out_of_descriptors(errno))
                pause_all(l);
            else if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        http_server_adopt(l->inboxes[l->next], l->loop, fd);
        l->next = (l->next + 1) % l->inbox_count;
    }
}

/* ---- the address ---- */

struct place {
    char host[256];
    char port[8];
};

static enum err parse_address(const char *address, struct place *out, struct diag *d)
{
    const char *colon = strrchr(address, ':');
    size_t port_len = colon ? strlen(colon + 1) : 0;
    if (!colon || port_len == 0 || port_len > 5 || strspn(colon + 1, "0123456789") != port_len ||
        atoi(colon + 1) > 65535)
        return diag_set(d, ERR_INVALID,
                        "\"%s\" is not an address to listen on: write HOST:PORT, for example 127.0.0.1:8080, "
                        "[::1]:8080 or :8080 (port 0 picks one)",
                        address);
    struct slice host = slice_of(address, (size_t)(colon - address));
    bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed)
        host = slice_of(host.ptr + 1, host.len - 2);
    else if (host.len && memchr(host.ptr, ':', host.len))
        return diag_set(d, ERR_INVALID, "\"%s\": an IPv6 address goes in brackets, for example [::1]:8080", address);
    if (host.len >= sizeof out->host)
        return diag_set(d, ERR_INVALID, "the host of the address to listen on is too long");
    memcpy(out->host, host.ptr, host.len);
    out->host[host.len] = 0;
    memcpy(out->port, colon + 1, port_len + 1);
    return OK;
}

static void set_port(struct sockaddr *address, in_port_t port)
{
    if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = port;
    else
        ((struct sockaddr_in *)(void *)address)->sin_port = port;
}

/* In network order, of a bound socket. */
static in_port_t bound_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        return 0;
    return a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port;
}

static void name_address(struct http_listener *l)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    char host[64] = "?", port[8] = "?";
    if (getsockname(l->sockets[0].watch.fd, (struct sockaddr *)&a, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(l->address, sizeof l->address, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* A listening socket, or -1 with errno. `dual`: an IPv6 socket that takes IPv4 too. */
static int listen_on(const struct sockaddr *address, socklen_t len, bool dual)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int only = !dual;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (address->sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static enum err explain(const char *address, int error, struct diag *d)
{
    const char *port = strrchr(address, ':') + 1;
    switch (error) {
    case EADDRINUSE:
        return diag_set(d, ERR_EXISTS,
                        "%s is in use by another program; stop it (\"ss -ltnp 'sport = :%s'\" shows which it is) or "
                        "listen elsewhere",
                        address, port);
    case EACCES:
    case EPERM:
        return diag_set(d, ERR_DENIED,
                        "listening on %s is not allowed: ports below 1024 need privileges; choose a higher one",
                        address);
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return diag_set(d, ERR_INVALID, "%s is no address of this machine", address);
    default:
        return diag_set(d, ERR_IO, "cannot listen on %s: %s", address, strerror(error));
    }
}

static void close_sockets(struct http_listener *l)
{
    for (size_t i = 0; i < l->socket_count; i++) {
        int fd = l->sockets[i].watch.fd;
        loop_watch_remove(l->loop, &l->sockets[i].watch);
        close(fd);
    }
    l->socket_count = 0;
}

static enum err add_socket(struct http_listener *l, int fd)
{
    struct socket *s = &l->sockets[l->socket_count];
    s->listener = l;
    s->watch.fd = -1;
    enum err e = loop_watch_add(l->loop, &s->watch, fd, EPOLLIN, accept_some);
    if (e == OK)
        l->socket_count++;
    else
        close(fd);
    return e;
}

/* Binds all of `found`; an address family that this machine does not have is left out. ERR_CONFLICT: the port picked
 * for the first was taken at another. */
static enum err bind_all(struct http_listener *l, const char *address, const struct addrinfo *found, bool dual,
                         struct diag *d)
{
    int error = EADDRNOTAVAIL;
    in_port_t port = 0;
    for (const struct addrinfo *a = found; a && l->socket_count < SOCKETS_MAX; a = a->ai_next) {
        struct sockaddr_storage where = {0};
        memcpy(&where, a->ai_addr, a->ai_addrlen);
        if (port)
            set_port((struct sockaddr *)&where, port);
        int fd = listen_on((struct sockaddr *)&where, a->ai_addrlen, dual);
        if (fd < 0) {
            error = errno;
            if (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)
                continue;
            return port && error == EADDRINUSE ? ERR_CONFLICT : explain(address, error, d);
        }
        enum err e = add_socket(l, fd);
        if (e != OK)
            return diag_set(d, e, "cannot watch the socket of %s", address);
        port = bound_port(fd);
    }
    return l->socket_count ? OK : explain(address, error, d);
}

static enum err open_sockets(struct http_listener *l, const char *address, struct diag *d)
{
    struct place place = {0};
    enum err e = parse_address(address, &place, d);
    if (e != OK)
        return e;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found = NULL;
    bool any = place.host[0] == 0, picks = atoi(place.port) == 0;
    /* All addresses: one socket for both families; where there is no IPv6, one for IPv4. */
    int failed = getaddrinfo(any ? "::" : place.host, place.port, &hints, &found);
    if (failed)
        return diag_set(d, ERR_INVALID, "cannot find the address of \"%s\": %s", place.host, gai_strerror(failed));
    e = ERR_CONFLICT;
    for (int i = 0; e == ERR_CONFLICT && i < (picks ? PORT_TRIES : 1); i++) {
        close_sockets(l);
        e = bind_all(l, address, found, any, d);
    }
    freeaddrinfo(found);
    if (e == ERR_INVALID && any) {
        char fallback[24];
        snprintf(fallback, sizeof fallback, "0.0.0.0:%s", place.port);
        return open_sockets(l, fallback, d);
    }
    return e == ERR_CONFLICT ? explain(address, EADDRINUSE, d) : e;
}

/* ---- life ---- */

static enum err hold_inboxes(struct http_listener *l, struct http_server *const *servers, size_t count)
{
    l->inboxes = calloc(count, sizeof *l->inboxes);
    if (!l->inboxes)
        return ERR_NOMEM;
    for (; l->inbox_count < count; l->inbox_count++)
        l->inboxes[l->inbox_count] = http_server_inbox_ref(servers[l->inbox_count]);
    return OK;
}

enum err http_listener_open(struct loop *control, const char *address, struct http_server *const *servers,
                            size_t server_count, struct http_listener **out, struct diag *d)
{
    assert(control && address && server_count > 0);
    struct http_listener *l = calloc(1, sizeof *l);
    if (!l)
        return diag_set(d, ERR_NOMEM, "not enough memory");
    l->loop = control;
    loop_timer_init(&l->pause, resume_all);
    enum err e = hold_inboxes(l, servers, server_count);
    if (e == OK)
        e = open_sockets(l, address, d);
    if (e != OK) {
        http_listener_close(l);
        return e;
    }
    name_address(l);
    *out = l;
    return OK;
}

const char *http_listener_address(const struct http_listener *l)
{
    return l->address;
}

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    return a->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET));
}

bool http_listener_is_loopback(const struct http_listener *l)
{
    for (size_t i = 0; i < l->socket_count; i++) {
        struct sockaddr_storage a = {0};
        socklen_t len = sizeof a;
        if (getsockname(l->sockets[i].watch.fd, (struct sockaddr *)&a, &len) != 0 || !is_loopback(&a))
            return false;
    }
    return true;
}

void http_listener_close(struct http_listener *l)
{
    if (!l)
        return;
    loop_timer_stop(l->loop, &l->pause);
    close_sockets(l);
    for (size_t i = 0; i < l->inbox_count; i++)
        http_inbox_unref(l->inboxes[i]);
    free(l->inboxes);
    free(l);
}
