#include "pgarray.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

void pgarray_begin(struct pgarray *array)
{
	array->out = open_memstream(&array->text, &array->len);
	if (!array->out)
		alloc_failed();
	fputc('{', array->out);
}

static void separate(struct pgarray *array)
{
	if (ftell(array->out) > 1)
		fputc(',', array->out);
}

/* Between quotes only quotes and backslashes are special. */
void pgarray_add(struct pgarray *array, const char *text)
{
	separate(array);
	if (!text) {
		fputs("null", array->out);
		return;
	}
	fputc('"', array->out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', array->out);
		fputc(*text, array->out);
	}
	fputc('"', array->out);
}

char *pgarray_bytes(const char *text)
{
	char *bytes = xmalloc(2 * strlen(text) + 3), *out = bytes;
	out += sprintf(out, "\\x");
	for (; *text; text++)
		out += sprintf(out, "%02x", (unsigned char)*text);
	return bytes;
}

void pgarray_add_bytes(struct pgarray *array, const char *text)
{
	char *bytes = pgarray_bytes(text);
	pgarray_add(array, bytes);
	free(bytes);
}

void pgarray_add_int(struct pgarray *array, int64_t value)
{
	separate(array);
	fprintf(array->out, "%" PRId64, value);
}

const char *pgarray_end(struct pgarray *array)
{
	fputc('}', array->out);
	if (fclose(array->out) != 0)
		alloc_failed();
	array->out = NULL;
	return array->text;
}

void pgarray_free(struct pgarray *array)
{
	free(array->text);
	array->text = NULL;
}
