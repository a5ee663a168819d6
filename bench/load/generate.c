/* Load on 127.0.0.1:port, from one thread, that costs less than what it measures. Linux.

   generate MODE PORT CONNECTIONS WARMUP_MS MEASURE_MS RATE MESSAGE_BYTES SPIN < requests

   requests    each with its length before it (4 bytes, little-endian); they are sent in turn, without a body
   MODE        http      each exchange is a request and its answer on a kept connection
               connect   each exchange is a connection of its own: connect, request, answer's head, close
               message   each connection sends the first request once, has to get 101, and from then on each exchange is
                         MESSAGE_BYTES there and as many back
               hold      opens that many, upgraded if the answer is 101; tells "held", and keeps them until it is killed
   RATE        0: closed loop, an exchange begins when the one before it on its connection ended. Else open loop: one
               begins each 1/RATE seconds, and its latency counts from when it should have begun, so that a stall counts
               for everybody who would have come meanwhile.
   SPIN        1: in a closed loop it looks for answers again and again, where 0 has it sleep until one comes: whoever
               answers has to wake it then. The looks that find nothing are no CPU time of its own.

   One line of JSON: what ended within the measured time, CPU time of this process in it, and latencies as a histogram of
   [nanoseconds, count] whose steps are 1/64 of their value. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { HTTP, CONNECT, MESSAGE, HOLD };
enum phase { CLOSED, CONNECTING, SENDING, HEAD, BODY, ECHO, IDLE };

struct connection {
  int fd;
  enum phase phase;
  /* last: nothing more can be sent on it. */
  int upgraded, busy, last;
  uint64_t opened;
  int64_t due;
  const char *out;
  size_t out_left, in_left, head_length;
  char head[8192];
};

struct request {
  const char *bytes;
  size_t length;
};

static enum mode mode;
static int port, connections, poll_fd;
static double rate;
static size_t message_bytes;
static struct request *requests;
static size_t request_count, next_request;
static struct connection *all, **idle;
static int idle_count, held;
static char *message, sink[256 * 1024];

static int64_t began, measure_from, measure_to, next_due;
static uint64_t issued, done, total, failed, lost, unanswered, by_class[6], in_bytes;

#define STEPS 128
static uint64_t histogram[64 * STEPS];

static int64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void record(int64_t latency) {
  uint64_t value = latency < 0 ? 0 : (uint64_t)latency;
  int shift = value < STEPS ? 0 : 64 - __builtin_clzll(value) - 7;
  histogram[shift * STEPS + (value >> shift)]++;
}

static void open_connection(struct connection *it);

static void end(struct connection *it) {
  if (it->phase == CLOSED) return;
  close(it->fd);
  it->phase = CLOSED;
  it->upgraded = it->last = 0;
}

static void flush_out(struct connection *it) {
  while (it->out_left > 0) {
    ssize_t sent = send(it->fd, it->out, it->out_left, MSG_NOSIGNAL);
    if (sent < 0) return;
    it->out += sent;
    it->out_left -= (size_t)sent;
  }
}

/* Begins the exchange that is due on a connection that stands. */
static void send_next(struct connection *it) {
  if (it->upgraded) {
    it->out = message;
    it->out_left = it->in_left = message_bytes;
    it->phase = ECHO;
  } else {
    struct request *request = &requests[next_request];
    next_request = mode == MESSAGE ? next_request : (next_request + 1) % request_count;
    it->out = request->bytes;
    it->out_left = request->length;
    it->head_length = 0;
    it->phase = HEAD;
  }
  flush_out(it);
}

static void begin(struct connection *it, int64_t due) {
  it->due = due;
  it->busy = 1;
  issued++;
  if (it->phase == CLOSED) open_connection(it);
  else send_next(it);
}

/* The connection can take another exchange. */
static void free_up(struct connection *it) {
  it->busy = 0;
  if (mode == HOLD) return;
  if (rate == 0) begin(it, now());
  else idle[idle_count++] = it;
}

static void finish(struct connection *it) {
  int64_t at = now();
  total++;
  /* Open loop: whoever came within the measured time counts, however late the answer is. */
  int64_t counts = rate > 0 ? it->due : at;
  if (counts >= measure_from && counts < measure_to) {
    done++;
    record(at - it->due);
  }
  if (mode == CONNECT || it->last) end(it);
  else it->phase = IDLE;
  free_up(it);
}

static void broken(struct connection *it) {
  int error = 0;
  socklen_t size = sizeof error;
  if (it->phase == CLOSED) return;
  getsockopt(it->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (it->busy) failed++;
  else lost++;
  end(it);
  if (mode == HOLD || failed > done + 10000) {
    fprintf(stderr, "generate: connections break: %lu of %lu, the last one by %s\n", failed, failed + done,
            error == 0 ? "its other end" : strerror(error));
    exit(1);
  }
  if (it->busy) free_up(it);
}

static void open_connection(struct connection *it) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = it};
  int on = 1;
  address.sin_port = htons((unsigned short)port);
  it->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(it->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  it->phase = CONNECTING;
  it->opened++;
  if (connect(it->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
    perror("generate: connect");
    exit(1);
  }
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, it->fd, &event);
}

static void exchanged(struct connection *it) {
  if (mode != HOLD) return finish(it);
  held++;
  it->phase = IDLE;
  free_up(it);
}

/* A head is whole: what follows it. */
static void read_head(struct connection *it, char *body) {
  int status = atoi(it->head + 9);
  size_t behind = it->head_length - (size_t)(body - it->head);
  if (it->due >= measure_from && it->due < measure_to && status >= 100 && status < 600) by_class[status / 100]++;
  if (status == 101 && (mode == MESSAGE || mode == HOLD)) {
    it->upgraded = 1;
    if (mode == HOLD) return exchanged(it);
    /* The upgrade itself is no exchange. */
    return send_next(it);
  }
  if (mode == MESSAGE) {
    fprintf(stderr, "generate: no upgrade: %.200s\n", it->head);
    exit(1);
  }
  char *length = strcasestr(it->head, "\r\ncontent-length:");
  int bodyless = mode == CONNECT || status == 101 || status == 204 || status == 304;
  if (!bodyless && (length == NULL || length > body)) {
    fprintf(stderr, "generate: an answer without Content-Length: %.200s\n", it->head);
    exit(1);
  }
  it->in_left = bodyless ? 0 : (size_t)atoll(length + 17);
  it->in_left = behind >= it->in_left ? 0 : it->in_left - behind;
  char *closes = strcasestr(it->head, "\r\nconnection: close");
  it->last = status == 101 || (closes != NULL && closes < body);
  it->phase = BODY;
}

static void receive(struct connection *it) {
  for (;;) {
    ssize_t got;
    if (it->phase == HEAD) {
      got = recv(it->fd, it->head + it->head_length, sizeof it->head - 1 - it->head_length, 0);
    } else if (it->phase == BODY || it->phase == ECHO) {
      /* MSG_TRUNC: thrown away where it is. */
      got = recv(it->fd, sink, it->in_left < sizeof sink ? it->in_left : sizeof sink, MSG_TRUNC);
    } else return;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return broken(it);
    in_bytes += (uint64_t)got;
    if (it->phase == HEAD) {
      it->head_length += (size_t)got;
      it->head[it->head_length] = 0;
      char *end_of_head = strstr(it->head, "\r\n\r\n");
      if (end_of_head == NULL && it->head_length >= sizeof it->head - 1) return broken(it);
      if (end_of_head == NULL) return;
      read_head(it, end_of_head + 4);
      if (it->phase != BODY) return;
    } else it->in_left -= (size_t)got;
    if (it->in_left == 0) return exchanged(it);
  }
}

static void handle(struct connection *it, uint32_t events) {
  uint64_t opened = it->opened;
  if (it->phase == CLOSED) return;
  if (events & (EPOLLERR | EPOLLHUP)) return broken(it);
  if (it->phase == CONNECTING && (events & EPOLLOUT)) {
    it->phase = IDLE;
    send_next(it);
  } else if (events & EPOLLOUT) flush_out(it);
  if (events & EPOLLIN) receive(it);
  if ((events & EPOLLRDHUP) && it->opened == opened) broken(it);
}

static int64_t cpu(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000ll +
         (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000ll;
}

static void read_requests(void) {
  size_t capacity = 1 << 20, length = 0;
  char *input = malloc(capacity);
  for (ssize_t got; (got = read(0, input + length, capacity - length)) > 0;) {
    length += (size_t)got;
    if (length == capacity) input = realloc(input, capacity *= 2);
  }
  for (int pass = 0; pass < 2; pass++) {
    size_t count = 0;
    for (size_t at = 0; at + 4 <= length;) {
      uint32_t size;
      memcpy(&size, input + at, 4);
      if (pass == 1) requests[count] = (struct request){input + at + 4, size};
      at += 4 + size;
      count++;
    }
    if (pass == 0) requests = calloc(count + 1, sizeof *requests);
    request_count = count;
  }
}

int main(int argc, char **argv) {
  const char *modes[] = {"http", "connect", "message", "hold"};
  if (argc != 9) return 2;
  while (mode < HOLD && strcmp(argv[1], modes[mode]) != 0) mode++;
  port = atoi(argv[2]);
  connections = atoi(argv[3]);
  int64_t warmup = atoll(argv[4]) * 1000000, measure = atoll(argv[5]) * 1000000;
  rate = atof(argv[6]);
  message_bytes = (size_t)atoll(argv[7]);
  int spins = atoi(argv[8]) && rate == 0 && mode != HOLD;
  read_requests();
  if (request_count == 0 || connections < 1) return 2;
  /* By default the system may be 50 microseconds late. */
  prctl(PR_SET_TIMERSLACK, 1);
  poll_fd = epoll_create1(0);
  all = calloc((size_t)connections, sizeof *all);
  idle = calloc((size_t)connections, sizeof *idle);
  message = calloc(1, message_bytes + 16);
  /* A binary frame, masked with zeros. */
  size_t payload = message_bytes - (message_bytes > 131 ? (message_bytes > 65543 ? 14 : 8) : 6);
  message[0] = (char)0x82;
  if (payload < 126) message[1] = (char)(0x80 | payload);
  else {
    int wide = payload > 65535 ? 8 : 2;
    message[1] = (char)(0x80 | (wide == 8 ? 127 : 126));
    for (int at = 0; at < wide; at++) message[2 + at] = (char)(payload >> (8 * (wide - 1 - at)));
  }

  began = now();
  measure_from = began + warmup;
  measure_to = measure_from + measure;
  next_due = began;
  int64_t cpu_from = 0, cpu_to = 0, wall_from = 0, wall_to = 0, looked = 0, outstanding_until = measure_to + 2000000000;
  for (int at = 0; at < connections; at++) {
    struct connection *it = &all[at];
    it->fd = -1;
    if (rate > 0) idle[idle_count++] = it;
    else if (mode != HOLD) begin(it, began);
  }
  struct epoll_event events[512];
  int opened = 0, told = 0;
  for (;;) {
    int64_t at = now();
    if (wall_from == 0 && at >= measure_from) wall_from = at, cpu_from = cpu() - looked;
    if (wall_to == 0 && at >= measure_to) wall_to = at, cpu_to = cpu() - looked;
    if (mode == HOLD) {
      /* A few at a time: a burst would overflow the queue of the listener. */
      while (opened < connections && opened - held < 64) begin(&all[opened++], at);
      if (held == connections && !told++) printf("held\n"), fflush(stdout);
    } else if (rate == 0 && wall_to != 0) break;
    int64_t wait = spins ? 0 : 100000000;
    if (rate > 0) {
      while (next_due < measure_to && next_due <= at && idle_count > 0) {
        begin(idle[--idle_count], next_due);
        next_due = began + (int64_t)((double)issued / rate * 1e9);
      }
      int over = next_due >= measure_to;
      if (at >= outstanding_until || (over && idle_count == connections)) break;
      if (!over && idle_count > 0) wait = next_due > at ? next_due - at : 0;
    }
    if (mode != HOLD && wall_to == 0 && measure_to - at < wait) wait = measure_to - at > 0 ? measure_to - at : 0;
    struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    int count = epoll_pwait2(poll_fd, events, 512, &timeout, NULL);
    if (spins && count == 0) looked += now() - at;
    for (int each = 0; each < count; each++) handle(events[each].data.ptr, events[each].events);
  }
  if (rate > 0) {
    int64_t at = now();
    for (int each = 0; each < connections; each++) {
      if (!all[each].busy) continue;
      unanswered++;
      record(at - all[each].due);
    }
    /* And those for whom there was no connection. */
    for (; next_due < measure_to; next_due = began + (int64_t)((double)issued / rate * 1e9)) {
      issued++, unanswered++;
      record(at - next_due);
    }
    if (wall_to == 0) wall_to = at, cpu_to = cpu();
  }
  printf("{\"done\":%lu,\"total\":%lu,\"failed\":%lu,\"lost\":%lu,\"unanswered\":%lu,", done, total, failed, lost,
         unanswered);
  printf("\"wall_ns\":%ld,\"cpu_ns\":%ld,\"received_bytes\":%lu,\"by_class\":[", wall_to - wall_from, cpu_to - cpu_from, in_bytes);
  for (int class = 1; class < 6; class++) printf("%s%lu", class == 1 ? "" : ",", by_class[class]);
  printf("],\"histogram\":[");
  const char *comma = "";
  for (int each = 0; each < 64 * STEPS; each++) {
    if (histogram[each] == 0) continue;
    uint64_t value = (uint64_t)(each % STEPS) << (each / STEPS);
    printf("%s[%lu,%lu]", comma, value, histogram[each]);
    comma = ",";
  }
  printf("]}\n");
  return 0;
}
