/* The client's end of a WebSocket connection, for programs that have thousands of them in one
 * thread and must cost less than the server under test. Each program has its own epoll set and
 * calls dial, ask when writable, and read when readable.
 *
 * Only unfragmented text up to 64 kB, pings (which are answered) and Close are understood. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct wsclient {
	int fd; /* -1: none */
	bool upgraded;
	unsigned char *rest; /* the beginning of a frame whose end has not come */
	size_t rest_len;
};

struct wsclient_manner {
	struct sockaddr_in to;
	int receive_buffer; /* of the kernel, in bytes; 0: its default */
	bool reset;	    /* the connection ends with a reset, so that its port is free at once */
};

/* Any may be NULL; none may close the connection. `member` is the reader's. */
struct wsclient_events {
	void (*upgraded)(void *member);
	/* Bytes have come; the calls for their frames follow. */
	void (*arrived)(void *member);
	void (*text)(void *member, const char *text, size_t len);
};

enum wsclient_state { WSCLIENT_OPEN, WSCLIENT_REFUSED, WSCLIENT_ENDED };

/* Begins to connect, without waiting. False on an error, which is in errno. */
bool wsclient_dial(struct wsclient *client, const struct wsclient_manner *manner);
/* Sends the handshake, of "/?" and the query; the protocol may be NULL. */
bool wsclient_ask(struct wsclient *client, const char *query, const char *protocol);
/* Reads available bytes. A refusal has been printed. */
enum wsclient_state wsclient_read(
	struct wsclient *client, const struct wsclient_events *events, void *member);
/* Harmless when there is no connection. */
void wsclient_close(struct wsclient *client);
