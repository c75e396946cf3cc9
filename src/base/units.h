/* Numbers with units, as in PostgreSQL's settings: 16kB, 5s. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum unit_family {
	UNITS_NONE,	/* 64: a count */
	UNITS_BYTES,	/* 16kB, 1MB; bytes without a unit */
	UNITS_DURATION, /* 20ms, 1min; in milliseconds; the unit is required except for 0 */
	UNITS_RATE,	/* 20/s */
};

/* False unless the text is a number >= 0 with a unit of the family. */
bool units_parse(enum unit_family family, const char *text, int64_t *value);

/* The expected form, for error messages. */
const char *units_form(enum unit_family family);
