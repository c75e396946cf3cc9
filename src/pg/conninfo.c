#include "conninfo.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <string.h>

#include "alloc.h"

#define MASK "********"

/* libpq takes any other text for the name of a database. */
static bool is_conninfo(const char *text)
{
	return strchr(text, '=') || strncmp(text, "postgres://", 11) == 0 ||
	       strncmp(text, "postgresql://", 13) == 0;
}

static void print_value(FILE *out, const char *value)
{
	if (*value && !strpbrk(value, " '\\\t\n\r\f\v")) {
		fputs(value, out);
		return;
	}
	fputc('\'', out);
	for (; *value; value++) {
		if (strchr("'\\", *value))
			fputc('\\', out);
		fputc(*value, out);
	}
	fputc('\'', out);
}

void conninfo_print_masked(const char *conninfo, FILE *out)
{
	if (!is_conninfo(conninfo)) {
		fputs(conninfo, out);
		return;
	}
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	if (!options)
		fputs(MASK, out);
	const char *separator = "";
	for (PQconninfoOption *option = options; option && option->keyword; option++) {
		if (!option->val)
			continue;
		fprintf(out, "%s%s=", separator, option->keyword);
		/* dispchar * marks a secret. */
		print_value(out, *option->dispchar == '*' ? MASK : option->val);
		separator = " ";
	}
	PQconninfoFree(options);
}
