#include "pgarray.h"

#include <inttypes.h>
#include <stdlib.h>

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
