#include "units.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Each list of units ends with a NULL name. */
static const struct family {
	const char *form;
	struct unit {
		const char *name;
		int64_t factor;
	} units[6];
} families[] = {
	[UNITS_NONE] = {"a whole number", {{"", 1}}},
	[UNITS_BYTES] = {"a size such as 16kB (B, kB, MB, GB)",
		{{"", 1}, {"B", 1}, {"kB", INT64_C(1) << 10}, {"MB", INT64_C(1) << 20},
			{"GB", INT64_C(1) << 30}}},
	[UNITS_DURATION] = {"a time such as 5s (ms, s, min, h, d)",
		{{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}}},
	[UNITS_RATE] = {"a rate such as 20/s", {{"/s", 1}}},
};

bool units_parse(enum unit_family family, const char *text, int64_t *value)
{
	if (!isdigit((unsigned char)*text))
		return false;
	char *end;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	if (errno)
		return false;
	end += strspn(end, " ");
	if (number == 0 && *end == '\0') {
		*value = 0;
		return true;
	}
	for (const struct unit *unit = families[family].units; unit->name; unit++) {
		if (strcmp(unit->name, end) == 0)
			return !__builtin_mul_overflow(number, unit->factor, value);
	}
	return false;
}

const char *units_form(enum unit_family family)
{
	return families[family].form;
}
