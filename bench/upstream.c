/* The upstream of the gateway benchmarks: one thread, epoll, as little work per request as C allows.
 *
 *   upstream PORT TICK_US EVENTS
 *
 *   POST, body without "stream":true   one fixed chat completion
 *   POST, body with it                 head and first event at once, then one event at each tick of TICK_US to
 *                                      every open stream, as an engine that decodes its batch step by step;
 *                                      after EVENTS content events the finish, the usage and [DONE]
 *   POST with TICK_US 0                the whole stream at once
 *   GET /counts                        {"requests": answered or begun, "events": content events written,
 *                                       "streams": open now, "event_bytes": of one content event on the wire}
 *   GET anything else                  {"status":"ok","object":"list","data":[{"id":"m",...}]}
 *
 * A client that does not read makes its stream skip ticks, it is never waited for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MAX_FDS 65536
#define READ_BYTES 65536

struct conn {
    char *in;          /* of a request that is not complete */
    size_t in_len, in_cap;
    char *out;         /* what the socket did not take */
    size_t out_len, out_cap;
    int events_left;   /* of an open stream; -1 = none */
    int stream_slot;
};

static struct conn conns[MAX_FDS];
static int streams[MAX_FDS], n_streams;
static unsigned long long requests, events;
static int epoll_fd, n_events;
static long tick_us;

static const char WORDS[] = "The quick brown fox jumps over the lazy dog and runs through the quiet forest at dawn. ";
static char answer[8192], head[256], event[512], last[1024];
static size_t answer_len, head_len, event_len, last_len;

static size_t chunk(char *to, const char *data) {
    return (size_t)sprintf(to, "%zx\r\n%s\r\n", strlen(data), data);
}

static void prepare(void) {
    char body[4096], text[1024] = "", data[512];
    for (int i = 0; i < 5; i++) strcat(text, WORDS);
    int n = sprintf(body,
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1790000000,\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":230,\"completion_tokens\":95,"
        "\"total_tokens\":325},\"system_fingerprint\":\"fp_bench\"}", text);
    answer_len = (size_t)sprintf(answer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    head_len = (size_t)sprintf(head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    event_len = chunk(event,
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\","
        "\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" forest\"},"
        "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    last_len = chunk(last,
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\","
        "\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}]}\n\n");
    sprintf(data, "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,"
        "\"model\":\"m\",\"system_fingerprint\":\"fp_bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":230,"
        "\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", n_events, n_events + 230);
    last_len += chunk(last + last_len, data);
    last_len += chunk(last + last_len, "data: [DONE]\n\n");
    last_len += (size_t)sprintf(last + last_len, "0\r\n\r\n");
}

static void end_stream(struct conn *c) {
    if (c->events_left < 0) return;
    c->events_left = -1;
    int moved = streams[--n_streams];
    streams[c->stream_slot] = moved;
    conns[moved].stream_slot = c->stream_slot;
}

static void drop(int fd) {
    struct conn *c = &conns[fd];
    end_stream(c);
    c->in_len = c->out_len = 0;
    if (c->in_cap > 4 * READ_BYTES) { free(c->in); c->in = NULL; c->in_cap = 0; }
    close(fd);
}

static void want_write(int fd, int on) {
    struct epoll_event ev = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev);
}

/* 0 when the connection is gone. */
static int put(int fd, const char *data, size_t n) {
    struct conn *c = &conns[fd];
    size_t sent = 0;
    if (!c->out_len) {
        ssize_t w = send(fd, data, n, MSG_NOSIGNAL);
        if (w < 0 && errno != EAGAIN) { drop(fd); return 0; }
        sent = w < 0 ? 0 : (size_t)w;
    }
    if (sent == n) return 1;
    if (c->out_len + n - sent > c->out_cap) {
        c->out_cap = 2 * (c->out_len + n - sent);
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, data + sent, n - sent);
    c->out_len += n - sent;
    want_write(fd, 1);
    return 1;
}

static void flush_out(int fd) {
    struct conn *c = &conns[fd];
    ssize_t w = send(fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (w < 0) { if (errno != EAGAIN) drop(fd); return; }
    memmove(c->out, c->out + w, c->out_len - (size_t)w);
    c->out_len -= (size_t)w;
    if (!c->out_len) want_write(fd, 0);
}

static void one_event(int fd) {
    struct conn *c = &conns[fd];
    if (c->out_len) return; /* the client is behind */
    events++;
    if (--c->events_left > 0) { put(fd, event, event_len); return; }
    char end[sizeof event + sizeof last];
    memcpy(end, event, event_len);
    memcpy(end + event_len, last, last_len);
    end_stream(c);
    put(fd, end, event_len + last_len);
}

static void begin_stream(int fd) {
    struct conn *c = &conns[fd];
    requests++;
    if (tick_us == 0) {
        if (!put(fd, head, head_len)) return;
        for (int i = 0; i < n_events; i++) if (!put(fd, event, event_len)) return;
        events += (unsigned)n_events;
        put(fd, last, last_len);
        return;
    }
    char first[sizeof head + sizeof event];
    memcpy(first, head, head_len);
    memcpy(first + head_len, event, event_len);
    c->events_left = n_events - 1;
    c->stream_slot = n_streams;
    streams[n_streams++] = fd;
    events++;
    put(fd, first, head_len + event_len);
}

static void get(int fd, const char *path) {
    char body[256], out[512];
    int n = !strncmp(path, "/counts ", 8)
        ? sprintf(body, "{\"requests\":%llu,\"events\":%llu,\"streams\":%d,\"event_bytes\":%zu}", requests,
                  events, n_streams, event_len)
        : sprintf(body, "{\"status\":\"ok\",\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\","
                        "\"created\":1790000000,\"owned_by\":\"bench\"}]}");
    n = sprintf(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    put(fd, out, (size_t)n);
}

/* Handles one complete request at the start of the buffer; its length, or 0 when it is not complete. */
static size_t handle(int fd, struct conn *c) {
    c->in[c->in_len] = 0;
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head_bytes = (size_t)(end - c->in) + 4, body_bytes = 0;
    *end = 0;
    char *length = strcasestr(c->in, "\r\ncontent-length:");
    int is_chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    *end = '\r';
    if (length) body_bytes = strtoul(length + 17, NULL, 10);
    if (is_chunked) {
        char *close_at = memmem(end + 4, c->in_len - head_bytes, "0\r\n\r\n", 5);
        if (!close_at) return 0;
        body_bytes = (size_t)(close_at + 5 - (end + 4));
    }
    if (c->in_len < head_bytes + body_bytes) return 0;
    if (!strncmp(c->in, "GET ", 4)) { get(fd, c->in + 4); return head_bytes + body_bytes; }
    const char *body = end + 4;
    if (memmem(body, body_bytes, "\"stream\":true", 13) || memmem(body, body_bytes, "\"stream\": true", 14)) {
        begin_stream(fd);
    } else {
        requests++;
        put(fd, answer, answer_len);
    }
    return head_bytes + body_bytes;
}

static void readable(int fd) {
    struct conn *c = &conns[fd];
    if (c->in_cap < c->in_len + READ_BYTES + 1) {
        c->in_cap = 2 * c->in_len + READ_BYTES + 1;
        c->in = realloc(c->in, c->in_cap);
    }
    ssize_t n = recv(fd, c->in + c->in_len, c->in_cap - c->in_len - 1, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(fd); return; }
    if (n < 0) return;
    c->in_len += (size_t)n;
    size_t used;
    while (c->in_len && (used = handle(fd, c))) {
        memmove(c->in, c->in + used, c->in_len > used ? c->in_len - used : 0);
        c->in_len = c->in_len > used ? c->in_len - used : 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: upstream PORT TICK_US EVENTS\n"); return 2; }
    tick_us = atol(argv[2]);
    n_events = atoi(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {MAX_FDS, MAX_FDS};
    if (setrlimit(RLIMIT_NOFILE, &files)) { getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files); }
    prepare();
    int yes = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(door, (struct sockaddr *)&at, sizeof at) || listen(door, 4096)) { perror("listen"); return 1; }
    epoll_fd = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = door}, ready[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, door, &ev);
    int timer = -1;
    if (tick_us) {
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        struct timespec period = {tick_us / 1000000, tick_us % 1000000 * 1000};
        struct itimerspec when = {period, period};
        timerfd_settime(timer, 0, &when, NULL);
        ev.data.fd = timer;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &ev);
    }
    for (;;) {
        int n = epoll_wait(epoll_fd, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == door) {
                int client;
                while ((client = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MAX_FDS) { close(client); continue; }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    conns[client].events_left = -1;
                    ev.events = EPOLLIN;
                    ev.data.fd = client;
                    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client, &ev);
                }
            } else if (fd == timer) {
                unsigned long long ticks;
                if (read(timer, &ticks, sizeof ticks) == sizeof ticks)
                    for (int s = n_streams - 1; s >= 0; s--) one_event(streams[s]);
            } else {
                if (ready[i].events & EPOLLOUT) flush_out(fd);
                if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(fd);
            }
        }
    }
}
