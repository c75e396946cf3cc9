/* Shared by the programs with thousands of clients, besides the protocol. */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

int64_t crowd_now_us(clockid_t clock);
/* Prints the failed action and errno, and ends the program. */
_Noreturn void crowd_die(const char *what);
/* An IPv4 address and a port, as text; dies when it is none. */
struct sockaddr_in crowd_address(const char *host, const char *port);
/* As many descriptors as the hard limit allows. */
void crowd_raise_files(void);
/* The whole number behind a key in a message; -1: there is no such key. */
int64_t crowd_number(const char *text, size_t len, const char *key);

/* A whole number; returns where it ends. Here, since it is wanted for every message. */
static inline const char *crowd_digits(const char *at, const char *end, int64_t *value)
{
	int64_t sum = 0;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		sum = sum * 10 + (*at - '0');
	*value = sum;
	return at;
}
