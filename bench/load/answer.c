/* The server behind the proxies, as cheap as one can be: it answers each HTTP request with the same few bytes, accepts
   each upgrade, and from then on sends as many bytes as it receives. Listens on 127.0.0.1:$PORT. Linux. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";
/* Of the key that RFC 6455 uses as its example, as generate.c does. */
static const char switched[] =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct peer {
  int fd, upgraded;
  size_t owed, head_length;
  char head[8192];
};

static char bytes[256 * 1024];

static void end(struct peer *peer) {
  close(peer->fd);
  free(peer);
}

/* Nonzero where the connection is gone. */
static int pay(struct peer *peer) {
  while (peer->owed > 0) {
    ssize_t sent = send(peer->fd, bytes, peer->owed < sizeof bytes ? peer->owed : sizeof bytes, MSG_NOSIGNAL);
    if (sent < 0) return errno != EAGAIN;
    peer->owed -= (size_t)sent;
  }
  return 0;
}

static int echo(struct peer *peer) {
  for (;;) {
    /* MSG_TRUNC: what it says is not looked at, and so need not be copied. */
    ssize_t got = recv(peer->fd, bytes, sizeof bytes, MSG_TRUNC);
    if (got == 0) return 1;
    if (got < 0) return errno != EAGAIN;
    peer->owed += (size_t)got;
    if (pay(peer)) return 1;
    if ((size_t)got < sizeof bytes) return 0;
  }
}

/* A request has no body here. */
static int respond(struct peer *peer) {
  ssize_t got = recv(peer->fd, peer->head + peer->head_length, sizeof peer->head - 1 - peer->head_length, 0);
  if (got == 0) return 1;
  if (got < 0) return errno != EAGAIN;
  peer->head_length += (size_t)got;
  peer->head[peer->head_length] = 0;
  if (strstr(peer->head, "\r\n\r\n") == NULL) return peer->head_length >= sizeof peer->head - 1;
  peer->upgraded = strcasestr(peer->head, "\r\nupgrade:") != NULL;
  const char *text = peer->upgraded ? switched : answer;
  size_t length = strlen(text);
  peer->head_length = 0;
  return send(peer->fd, text, length, MSG_NOSIGNAL) != (ssize_t)length;
}

int main(void) {
  const char *port = getenv("PORT");
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  address.sin_port = htons((unsigned short)(port == NULL ? 0 : atoi(port)));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8192) != 0) {
    perror("answer");
    return 1;
  }
  struct epoll_event events[512], event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int count = epoll_wait(poll, events, 512, -1);
    for (int at = 0; at < count; at++) {
      struct peer *peer = events[at].data.ptr;
      if (peer != NULL) {
        int gone = (events[at].events & EPOLLIN) ? (peer->upgraded ? echo(peer) : respond(peer)) : 0;
        if (!gone && (events[at].events & EPOLLOUT)) gone = pay(peer);
        if (gone || (events[at].events & (EPOLLERR | EPOLLHUP))) end(peer);
        continue;
      }
      for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct peer *made = calloc(1, sizeof *made);
        if (made == NULL) return 1;
        made->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = made;
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
