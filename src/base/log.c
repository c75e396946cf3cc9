#include "log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "utf8.h"

static const char *const level_names[] = {CHOICES_log_level(CHOICE_WORD)};
/* syslog's priorities, which journald reads at the start of a line. */
static const int priorities[] = {7, 6, 4, 3};

static enum log_level threshold = LOG_LEVEL_INFO;
static enum log_format chosen_format = LOG_FORMAT_AUTO;

/* JOURNAL_STREAM identifies the journal's stream; stderr may have been redirected since. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_configure(enum log_level min_level, enum log_format format)
{
	threshold = min_level;
	chosen_format = format;
}

/* Joins lines: "a\n  b\n" becomes "a; b". Other control characters, which a terminal would
 * interpret, become '?'. */
static char *one_line(const char *text)
{
	size_t len = strlen(text), n = 0;
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	char *line = xmalloc(2 * len + 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '\n' || c == '\r') {
			i += strspn(text + i, "\r\n\t ") - 1;
			line[n++] = ';';
			line[n++] = ' ';
		} else if (c == '\t') {
			line[n++] = ' ';
		} else {
			line[n++] = c < 0x20 || c == 0x7F ? '?' : (char)c;
		}
	}
	line[n] = '\0';
	return line;
}

/* The line has no control characters, so only quotes and backslashes are escaped. */
static void write_json(FILE *out, const char *time, const char *level, const char *line)
{
	size_t len;
	char *text = utf8_repair(line, strlen(line), &len);
	fprintf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", time, level);
	for (const char *c = text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out);
		fputc(*c, out);
	}
	fputs("\"}\n", out);
	free(text);
}

static void write_line(FILE *out, enum log_level level, const char *line)
{
	struct timespec now;
	struct tm utc;
	char seconds[24], time[48];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(time, sizeof time, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
	if (chosen_format == LOG_FORMAT_JSON)
		write_json(out, time, level_names[level], line);
	else if (chosen_format == LOG_FORMAT_AUTO && stderr_is_journal())
		fprintf(out, "<%d>%s\n", priorities[level], line);
	else
		fprintf(out, "%s %s: %s\n", time, level_names[level], line);
}

__attribute__((format(printf, 3, 0))) static void write_message(
	enum log_level level, unsigned skipped, const char *format, va_list args)
{
	char *text = NULL;
	if (level < threshold || vasprintf(&text, format, args) < 0)
		return;
	char *line = one_line(text);
	if (skipped) {
		char *more = xasprintf("%s (and %u more)", line, skipped);
		free(line);
		line = more;
	}
	free(text);

	/* Buffered, so that a line reaches a pipe in one write. */
	char *bytes = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&bytes, &len);
	if (out) {
		write_line(out, level, line);
		fclose(out);
		fwrite(bytes, 1, len, stderr);
		fflush(stderr);
	}
	free(bytes);
	free(line);
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	write_message(level, 0, format, args);
	va_end(args);
}

void log_write_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	uint64_t now = clock_ms();
	if (limit->last_ms && now - limit->last_ms < 1000) {
		limit->skipped++;
		return;
	}
	va_list args;
	va_start(args, format);
	write_message(level, limit->skipped, format, args);
	va_end(args);
	*limit = (struct log_limit){.last_ms = now};
}
