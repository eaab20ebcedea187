/*
 * inject: hands mail to an SMTP server over many sessions at once, and times it.
 *
 *   inject -p PORT -n MESSAGES -c SESSIONS -m MESSAGES_PER_CONNECTION -l OCTETS -d DOMAINS -h DOMAIN
 *          [-r MESSAGES_A_SECOND]
 *
 * Speaks to 127.0.0.1 in clear, one command at a time. -m 0: any number on a connection. With
 * -d 500 the recipients are at d0.DOMAIN to d499.DOMAIN in turn. A refused message is counted and
 * its session starts anew. With -r no more are begun than that many a second. Prints one line of JSON at the end: first connect and last 250 in ns
 * since 1970, counts, and percentiles of the time from the end of a message to its 250.
 * One thread, epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What a session waits for. */
enum state { GREETING, EHLO, REST, MAIL, RCPT, DATA, MESSAGE, QUIT };

struct session {
  int fd; /* -1: closed */
  enum state state;
  int number;        /* of the message under way */
  int on_connection; /* messages accepted on this connection */
  uint64_t message_sent_ns;
  const char *out; /* left to write */
  size_t out_length;
  int wants_write; /* as epoll was told */
  char command[1024];
  char in[4096];
  size_t in_length;
};

static int port = 2525, sessions = 20, per_connection = 0, domains = 1;
static long messages = 1000, rate = 0;
static size_t octets = 4096;
static const char *domain = "dest.test";

static int epoll_fd, open_sessions, resting;
static long started, accepted, refused, connection_errors;
static uint64_t first_connect_ns, last_accept_ns;
static uint32_t *ack_us;
static char *message;
static size_t message_length;

enum { MOST_CONNECTION_ERRORS = 1000, STALLED_SECONDS = 120 };

static void open_session(struct session *s);

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct session *s, int operation, int wants_write) {
  struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = s};
  epoll_ctl(epoll_fd, operation, s->fd, &event);
  s->wants_write = wants_write;
}

/* Write what is left; the rest when the socket takes more. Errors show up when reading. */
static void flush(struct session *s) {
  while (s->out_length > 0) {
    ssize_t n = send(s->fd, s->out, s->out_length, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN && !s->wants_write) watch(s, EPOLL_CTL_MOD, 1);
      return;
    }
    s->out += n;
    s->out_length -= (size_t)n;
  }
  if (s->wants_write) watch(s, EPOLL_CTL_MOD, 0);
}

static void say(struct session *s, enum state next, const char *text, size_t length) {
  s->state = next;
  s->out = text;
  s->out_length = length;
  flush(s);
}

static void say_command(struct session *s, enum state next, const char *text) {
  say(s, next, text, strlen(text));
}

static void close_session(struct session *s) {
  if (s->fd < 0) return;
  close(s->fd);
  s->fd = -1;
  open_sessions--;
}

/* A connection has ended: open the next if there is mail left. */
static void replace_connection(struct session *s) {
  close_session(s);
  if (started < messages && connection_errors < MOST_CONNECTION_ERRORS) open_session(s);
}

static void connection_failed(struct session *s) {
  connection_errors++;
  usleep(1000);
  replace_connection(s);
}

static void message_refused(struct session *s, const char *why) {
  if (++refused <= 3) fprintf(stderr, "refused in state %d: %.200s\n", s->state, why);
  replace_connection(s);
}

/* Is it too early for one more? */
static int is_early(void) {
  return rate > 0 && (uint64_t)started * 1000000000u > (now_ns() - first_connect_ns) * (uint64_t)rate;
}

static void next_message(struct session *s) {
  if (started >= messages || (per_connection > 0 && s->on_connection >= per_connection)) {
    say_command(s, QUIT, "QUIT\r\n");
    return;
  }
  if (is_early()) {
    s->state = REST;
    resting++;
    return;
  }
  s->number = (int)started++;
  say_command(s, MAIL, "MAIL FROM:<bench@src.test>\r\n");
}

static void wake(struct session *s) {
  s->state = EHLO;
  resting--;
  next_message(s);
}

static void say_recipient(struct session *s) {
  if (domains > 1) {
    snprintf(s->command, sizeof s->command, "RCPT TO:<u%d@d%d.%s>\r\n", s->number,
             s->number % domains, domain);
  } else {
    snprintf(s->command, sizeof s->command, "RCPT TO:<u%d@%s>\r\n", s->number, domain);
  }
  say_command(s, RCPT, s->command);
}

static void message_accepted(struct session *s) {
  last_accept_ns = now_ns();
  ack_us[accepted++] = (uint32_t)((last_accept_ns - s->message_sent_ns) / 1000);
  s->on_connection++;
  next_message(s);
}

/* The last line of a reply. */
static void on_reply(struct session *s, const char *line) {
  int code = atoi(line);
  switch (s->state) {
    case GREETING:
      if (code == 220) say_command(s, EHLO, "EHLO inject.test\r\n");
      else connection_failed(s);
      return;
    case EHLO:
      if (code == 250) next_message(s);
      else connection_failed(s);
      return;
    case REST: /* a farewell: the end follows */
      return;
    case MAIL:
      if (code == 250) say_recipient(s);
      else message_refused(s, line);
      return;
    case RCPT:
      if (code == 250) say_command(s, DATA, "DATA\r\n");
      else message_refused(s, line);
      return;
    case DATA:
      if (code != 354) {
        message_refused(s, line);
        return;
      }
      s->message_sent_ns = now_ns();
      say(s, MESSAGE, message, message_length);
      return;
    case MESSAGE:
      if (code == 250) message_accepted(s);
      else message_refused(s, line);
      return;
    case QUIT:
      replace_connection(s);
      return;
  }
}

static void on_end(struct session *s) {
  if (s->state == REST) resting--;
  if (s->state == QUIT || s->state == REST) replace_connection(s);
  else if (s->state == GREETING || s->state == EHLO) connection_failed(s);
  else message_refused(s, "the connection ended");
}

static void on_readable(struct session *s) {
  for (;;) {
    ssize_t n = recv(s->fd, s->in + s->in_length, sizeof s->in - 1 - s->in_length, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      on_end(s);
      return;
    }
    s->in_length += (size_t)n;
    char *line = s->in, *end = s->in + s->in_length, *newline;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
      *newline = '\0';
      int is_last = strlen(line) < 4 || line[3] != '-';
      if (is_last) on_reply(s, line);
      if (s->fd < 0 || s->in_length == 0) return; /* closed, or another connection by now */
      line = newline + 1;
    }
    s->in_length = (size_t)(end - line);
    memmove(s->in, line, s->in_length);
    if (s->in_length >= sizeof s->in - 1) s->in_length = 0;
  }
}

static void open_session(struct session *s) {
  int one = 1;
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  s->state = GREETING;
  s->on_connection = 0;
  s->in_length = s->out_length = 0;
  open_sessions++;
  if (first_connect_ns == 0) first_connect_ns = now_ns();
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    perror("connect");
    exit(1);
  }
  watch(s, EPOLL_CTL_ADD, 0);
}

/* A text of random letters, dot at the end included. */
static void make_message(void) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const char header[] =
      "From: Bench <bench@src.test>\r\nTo: Someone <u@dest.test>\r\nSubject: bench message\r\n"
      "Date: Mon, 02 Jun 2025 10:00:00 +0000\r\nMessage-ID: <bench.1@src.test>\r\n"
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
  message = malloc(octets + sizeof header + 100);
  message_length = sizeof header - 1;
  memcpy(message, header, message_length);
  srand(1);
  while (message_length + 78 < octets) {
    for (int i = 0; i < 76; i++) message[message_length++] = letters[rand() & 63];
    message[message_length++] = '\r';
    message[message_length++] = '\n';
  }
  memcpy(message + message_length, ".\r\n", 3);
  message_length += 3;
}

static void run(void) {
  struct session *all = calloc((size_t)sessions, sizeof *all);
  struct epoll_event events[256];
  int idle_seconds = 0;
  for (int i = 0; i < sessions && i < messages; i++) open_session(&all[i]);
  while (open_sessions > 0) {
    int n = epoll_wait(epoll_fd, events, 256, resting > 0 ? 2 : 1000);
    if (resting == 0) idle_seconds = n == 0 ? idle_seconds + 1 : 0;
    if (idle_seconds > STALLED_SECONDS) {
      fprintf(stderr, "stalled\n");
      return;
    }
    for (int i = 0; i < n; i++) {
      struct session *s = events[i].data.ptr;
      if (s->fd >= 0 && (events[i].events & EPOLLOUT)) flush(s);
      if (s->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(s);
    }
    for (int i = 0; i < sessions && resting > 0 && (!is_early() || started >= messages); i++) {
      if (all[i].fd >= 0 && all[i].state == REST) wake(&all[i]);
    }
  }
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double ack_ms(double share) {
  return accepted == 0 ? 0 : ack_us[(long)((double)(accepted - 1) * share)] / 1e3;
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "p:n:c:m:l:d:h:r:")) != -1) {
    switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'n': messages = atol(optarg); break;
      case 'c': sessions = atoi(optarg); break;
      case 'm': per_connection = atoi(optarg); break;
      case 'l': octets = (size_t)atol(optarg); break;
      case 'd': domains = atoi(optarg); break;
      case 'h': domain = optarg; break;
      case 'r': rate = atol(optarg); break;
      default: return 2;
    }
  }
  signal(SIGPIPE, SIG_IGN);
  make_message();
  ack_us = calloc((size_t)messages + 1, sizeof *ack_us);
  epoll_fd = epoll_create1(0);
  run();
  qsort(ack_us, (size_t)accepted, sizeof *ack_us, ascending);
  printf("{\"ok\":%ld,\"failed\":%ld,\"conn_errors\":%ld,\"start_ns\":%llu,\"end_ns\":%llu,"
         "\"ack_ms_p50\":%.2f,\"ack_ms_p99\":%.2f}\n",
         accepted, refused, connection_errors, (unsigned long long)first_connect_ns,
         (unsigned long long)last_accept_ns, ack_ms(0.5), ack_ms(0.99));
  return accepted < messages;
}
