/* The text form of PostgreSQL arrays, for parameters. */
#pragma once

#include <stdint.h>
#include <stdio.h>

struct pgarray {
	FILE *out;
	char *text;
	size_t len;
};

void pgarray_begin(struct pgarray *array);
/* NULL: the element is null. */
void pgarray_add(struct pgarray *array, const char *text);
/* A bytea. */
void pgarray_add_bytes(struct pgarray *array, const char *text);
void pgarray_add_int(struct pgarray *array, int64_t value);
/* Completes the text, which lasts until pgarray_free. */
const char *pgarray_end(struct pgarray *array);
void pgarray_free(struct pgarray *array);

/* The form of a bytea, for the bytes of a text that the encoding of the database may not hold; the
 * caller frees it. */
char *pgarray_bytes(const char *text);
