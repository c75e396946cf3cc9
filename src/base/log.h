/* Logging to standard error, one line per message: with priorities for journald, as text, or as
 * JSON. Line breaks within a message, as in libpq's errors, become "; ". */
#pragma once

#include "choice.h"

#define CHOICES_log_level(X)                                                                       \
	X(LOG_LEVEL_DEBUG, "debug")                                                                \
	X(LOG_LEVEL_INFO, "info")                                                                  \
	X(LOG_LEVEL_WARNING, "warning")                                                            \
	X(LOG_LEVEL_ERROR, "error")
#define CHOICES_log_format(X)                                                                      \
	X(LOG_FORMAT_AUTO, "auto") X(LOG_FORMAT_TEXT, "text") X(LOG_FORMAT_JSON, "json")

enum log_level { CHOICES_log_level(CHOICE_CONSTANT) };
enum log_format { CHOICES_log_format(CHOICE_CONSTANT) };

void log_configure(enum log_level min_level, enum log_format format);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Limits one kind of message to a line a second; static and all zero at first. */
struct log_limit {
	unsigned long long last_ms;
	unsigned skipped;
};

/* The next line says how many were skipped. */
void log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* For messages that strangers can cause: at most a line a second from this place. */
#define log_limited(level, ...)                                                                    \
	do {                                                                                       \
		static struct log_limit limit_;                                                    \
		log_write_limited(&limit_, level, __VA_ARGS__);                                    \
	} while (0)

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
