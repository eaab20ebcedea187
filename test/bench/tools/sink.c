/*
 * sink: takes mail by SMTP as cheaply as can be, throws it away and counts.
 *
 *   sink -p PORT -s STATSFILE [-c CERT.pem -k KEY.pem] [-q]
 *
 * Listens on 127.0.0.1; offers PIPELINING, and STARTTLS when it has a certificate. -q: TCP
 * segments are acknowledged at once (TCP_QUICKACK). STATSFILE is mapped memory that others may
 * read at any time: 64-bit counters in the order of enum counter. One thread, epoll, OpenSSL.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum counter {
  MESSAGES,
  OCTETS,
  CONNECTIONS,
  HANDSHAKES,
  RESUMED,
  FIRST_CONNECTION_NS,
  LAST_MESSAGE_NS,
  MESSAGES_OVER_TLS,
  ERRORS,
  OPEN_CONNECTIONS,
  MOST_CONNECTIONS
};
static volatile uint64_t *stats;

enum phase { COMMANDS, CONTENT, HANDSHAKE };
/* How much of CR LF . CR LF has been seen. */
enum ending { NONE, CR, CR_LF, DOT, DOT_CR };
/* What became of a step: go on, wait for the socket, close. */
enum step { GO_ON, WAIT, CLOSE };

struct connection {
  int fd;
  enum phase phase;
  enum ending ending;
  int is_tls, starts_tls, is_last, wants_write, has_sender;
  SSL *ssl;
  size_t in_length, out_length, out_done;
  char in[4096]; /* the beginning of a line */
  char out[8192];
};

static SSL_CTX *tls;
static int epoll_fd, quick_ack;
static char chunk[131072];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct connection *c, int operation, int wants_write) {
  struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll_fd, operation, c->fd, &event);
  c->wants_write = wants_write;
}

static enum step wait_for(struct connection *c, int wants_write) {
  if (c->wants_write != wants_write) watch(c, EPOLL_CTL_MOD, wants_write);
  return WAIT;
}

static enum step wait_for_tls(struct connection *c, int result) {
  int error = SSL_get_error(c->ssl, result);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ) return wait_for(c, 0);
  if (error == SSL_ERROR_WANT_WRITE) return wait_for(c, 1);
  return CLOSE;
}

static void reply(struct connection *c, const char *text) {
  size_t length = strlen(text);
  if (c->out_length + length > sizeof c->out) {
    stats[ERRORS]++;
    return;
  }
  memcpy(c->out + c->out_length, text, length);
  c->out_length += length;
}

static enum step flush(struct connection *c) {
  while (c->out_done < c->out_length) {
    const char *from = c->out + c->out_done;
    size_t left = c->out_length - c->out_done;
    ssize_t n;
    if (c->is_tls) {
      n = SSL_write(c->ssl, from, (int)left);
      if (n <= 0) return wait_for_tls(c, (int)n);
    } else {
      n = send(c->fd, from, left, MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN ? wait_for(c, 1) : CLOSE;
    }
    c->out_done += (size_t)n;
  }
  c->out_done = c->out_length = 0;
  wait_for(c, 0);
  return c->is_last ? CLOSE : GO_ON;
}

static void close_connection(struct connection *c) {
  if (c->ssl != NULL) {
    if (!SSL_in_init(c->ssl)) SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
  }
  close(c->fd);
  free(c);
  stats[OPEN_CONNECTIONS]--;
}

static int is_verb(const char *line, const char *verb) {
  return strncasecmp(line, verb, strlen(verb)) == 0;
}

static void on_command(struct connection *c, const char *line) {
  if (is_verb(line, "EHLO")) {
    reply(c, "250-sink.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n"
             "250-ENHANCEDSTATUSCODES\r\n");
    if (tls != NULL && !c->is_tls) reply(c, "250-STARTTLS\r\n");
    reply(c, "250 SMTPUTF8\r\n");
  } else if (is_verb(line, "HELO")) {
    reply(c, "250 sink.test\r\n");
  } else if (is_verb(line, "MAIL")) {
    c->has_sender = 1;
    reply(c, "250 2.1.0 ok\r\n");
  } else if (is_verb(line, "RCPT")) {
    reply(c, "250 2.1.5 ok\r\n");
  } else if (is_verb(line, "DATA") && c->has_sender) {
    c->phase = CONTENT;
    c->ending = CR_LF;
    reply(c, "354 go\r\n");
  } else if (is_verb(line, "DATA")) {
    reply(c, "503 5.5.1 no\r\n");
  } else if (is_verb(line, "RSET")) {
    c->has_sender = 0;
    reply(c, "250 2.0.0 ok\r\n");
  } else if (is_verb(line, "NOOP")) {
    reply(c, "250 2.0.0 ok\r\n");
  } else if (is_verb(line, "QUIT")) {
    reply(c, "221 2.0.0 bye\r\n");
    c->is_last = 1;
  } else if (is_verb(line, "STARTTLS") && tls != NULL && !c->is_tls) {
    reply(c, "220 2.0.0 go\r\n");
    c->starts_tls = 1;
  } else {
    reply(c, "500 5.5.2 what\r\n");
    stats[ERRORS]++;
  }
}

static void on_message(struct connection *c) {
  stats[MESSAGES]++;
  if (c->is_tls) stats[MESSAGES_OVER_TLS]++;
  stats[LAST_MESSAGE_NS] = now_ns();
  c->phase = COMMANDS;
  c->has_sender = 0;
  reply(c, "250 2.0.0 queued\r\n");
}

/* Look for the end of the message; how many octets belong to it. */
static size_t on_content(struct connection *c, const char *data, size_t length) {
  const char *at = data, *end = data + length;
  while (at < end && c->phase == CONTENT) {
    if (c->ending == NONE) {
      const char *cr = memchr(at, '\r', (size_t)(end - at));
      at = cr == NULL ? end : cr + 1;
      if (cr != NULL) c->ending = CR;
      continue;
    }
    char octet = *at;
    if (c->ending == CR && octet == '\n') c->ending = CR_LF;
    else if (c->ending == CR_LF && octet == '.') c->ending = DOT;
    else if (c->ending == DOT && octet == '\r') c->ending = DOT_CR;
    else if (c->ending == DOT_CR && octet == '\n') on_message(c);
    else if (octet == '\r') c->ending = CR;
    else c->ending = NONE;
    at++;
  }
  stats[OCTETS] += (uint64_t)(at - data);
  return (size_t)(at - data);
}

/* One line, or what there is of it; how many octets that was. 0: the line is too long. */
static size_t on_line(struct connection *c, const char *data, size_t length) {
  const char *newline = memchr(data, '\n', length);
  size_t taken = newline == NULL ? length : (size_t)(newline - data) + 1;
  if (c->in_length + taken >= sizeof c->in) return 0;
  memcpy(c->in + c->in_length, data, taken);
  c->in_length += taken;
  if (newline != NULL) {
    c->in[c->in_length - 1] = '\0';
    c->in_length = 0;
    on_command(c, c->in);
  }
  return taken;
}

static enum step on_octets(struct connection *c, const char *data, size_t length) {
  while (length > 0) {
    if (c->starts_tls) return CLOSE; /* commands in clear behind STARTTLS */
    size_t taken =
        c->phase == CONTENT ? on_content(c, data, length) : on_line(c, data, length);
    if (taken == 0) return CLOSE;
    data += taken;
    length -= taken;
  }
  return GO_ON;
}

static enum step shake_hands(struct connection *c) {
  int result = SSL_accept(c->ssl);
  if (result != 1) {
    enum step step = wait_for_tls(c, result);
    if (step == CLOSE) stats[ERRORS]++;
    return step;
  }
  c->phase = COMMANDS;
  c->is_tls = 1;
  stats[HANDSHAKES]++;
  if (SSL_session_reused(c->ssl)) stats[RESUMED]++;
  return GO_ON;
}

static enum step start_tls(struct connection *c) {
  c->starts_tls = 0;
  c->phase = HANDSHAKE;
  c->ssl = SSL_new(tls);
  SSL_set_fd(c->ssl, c->fd);
  SSL_set_accept_state(c->ssl);
  return shake_hands(c);
}

/* Read once and answer. */
static enum step take(struct connection *c) {
  ssize_t n;
  if (quick_ack) setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &quick_ack, sizeof quick_ack);
  if (c->is_tls) {
    n = SSL_read(c->ssl, chunk, sizeof chunk);
    if (n <= 0) return wait_for_tls(c, (int)n);
  } else {
    n = recv(c->fd, chunk, sizeof chunk, 0);
    if (n < 0 && errno == EAGAIN) return WAIT;
    if (n <= 0) return CLOSE;
  }
  if (on_octets(c, chunk, (size_t)n) == CLOSE) return CLOSE;
  if (flush(c) == CLOSE) return CLOSE;
  if (c->starts_tls && c->out_length == 0) return start_tls(c);
  return !c->is_tls && n < (ssize_t)sizeof chunk ? WAIT : GO_ON;
}

static void on_event(struct connection *c) {
  enum step step = c->phase == HANDSHAKE ? shake_hands(c) : GO_ON;
  if (step == GO_ON && c->out_length > 0) step = flush(c);
  while (step == GO_ON) step = take(c);
  if (step == CLOSE) close_connection(c);
}

static void accept_all(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    stats[CONNECTIONS]++;
    if (++stats[OPEN_CONNECTIONS] > stats[MOST_CONNECTIONS]) {
      stats[MOST_CONNECTIONS] = stats[OPEN_CONNECTIONS];
    }
    if (stats[FIRST_CONNECTION_NS] == 0) stats[FIRST_CONNECTION_NS] = now_ns();
    watch(c, EPOLL_CTL_ADD, 0);
    reply(c, "220 sink.test ESMTP\r\n");
    if (flush(c) == CLOSE) close_connection(c);
  }
}

static void fail(const char *what) {
  perror(what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

static void map_stats(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || ftruncate(fd, 4096) != 0) fail(path);
  stats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (stats == MAP_FAILED) fail(path);
}

static void load_certificate(const char *cert, const char *key) {
  tls = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1) fail(cert);
  if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) fail(key);
  SSL_CTX_set_session_id_context(tls, (const unsigned char *)"sink", 4);
  SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
}

static int listen_on(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0) fail("bind");
  return fd;
}

int main(int argc, char **argv) {
  int option, port = 2525;
  const char *cert = NULL, *key = NULL, *stats_file = "sink.stats";
  while ((option = getopt(argc, argv, "p:s:c:k:q")) != -1) {
    switch (option) {
      case 'p': port = atoi(optarg); break;
      case 's': stats_file = optarg; break;
      case 'c': cert = optarg; break;
      case 'k': key = optarg; break;
      case 'q': quick_ack = 1; break;
      default: return 2;
    }
  }
  signal(SIGPIPE, SIG_IGN);
  if (cert != NULL && key != NULL) load_certificate(cert, key);
  int listener = listen_on(port);
  epoll_fd = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  map_stats(stats_file); /* from now on it is ready */
  for (;;) {
    int n = epoll_wait(epoll_fd, events, 256, -1);
    for (int i = 0; i < n; i++) {
      if (events[i].data.ptr == NULL) accept_all(listener);
      else on_event(events[i].data.ptr);
    }
  }
}
