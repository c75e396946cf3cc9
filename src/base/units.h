/* Numbers with units, as PostgreSQL's settings write them: 16kB, 5s. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum unit_family {
	UNITS_NONE,	/* 64: a count */
	UNITS_BYTES,	/* 16kB, 1MB; without a unit, bytes */
	UNITS_DURATION, /* 20ms, 1min: in milliseconds; only 0 goes without a unit */
	UNITS_RATE,	/* 20/s */
};

/* False when the text is no number of 0 and up in one of the family's units. */
bool units_parse(enum unit_family family, const char *text, int64_t *value);

/* The form that is asked for, to say so. */
const char *units_form(enum unit_family family);
