#include "settings_priv.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

/* In the file's syntax, with a text in quotes. */
static void print_value(FILE *out, const struct setting_row *row, const char *text)
{
	if (row->type != TYPE_TEXT) {
		fputs(text, out);
		return;
	}
	fputc('\'', out);
	for (; *text; text++)
		fputs(*text == '\'' ? "''" : (char[]){*text, '\0'}, out);
	fputc('\'', out);
}

static char *masked(const struct setting_row *row, const struct setting_value *value,
	void (*print_conninfo)(const char *conninfo, FILE *out))
{
	bool from_file = strncmp(value->written, "@/", 2) == 0;
	if (row->secrecy == PUBLIC || !*value->written || from_file)
		return xstrdup(value->written);
	if (row->secrecy == SECRET)
		return xstrdup("********");
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		alloc_failed();
	print_conninfo(value->written, out);
	fclose(out);
	return text;
}

void settings_print(const struct settings *settings, FILE *out,
	void (*print_conninfo)(const char *conninfo, FILE *out))
{
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		char *text = masked(&settings_rows[i], &settings->values[i], print_conninfo);
		fprintf(out, "%s = ", settings_rows[i].name);
		print_value(out, &settings_rows[i], text);
		fprintf(out, "  # %s\n", settings->values[i].origin);
		free(text);
	}
}

/* Prints lines of at most 78 columns. */
static void print_wrapped(FILE *out, const char *indent, const char *prose)
{
	size_t max = 78 - strlen(indent);
	while (*prose) {
		size_t len = strlen(prose);
		if (len > max) {
			for (len = max; len && prose[len] != ' ';)
				len--;
			len = len ? len : strcspn(prose, " ");
		}
		fprintf(out, "%s%.*s\n", indent, (int)len, prose);
		prose += len + (prose[len] == ' ');
	}
}

void settings_example(FILE *out)
{
	fputs("# Settings of pgcast. Commented-out values are the defaults.\n", out);
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		const struct setting_row *row = &settings_rows[i];
		fputc('\n', out);
		print_wrapped(out, "# ", row->help);
		if (row->min)
			fprintf(out, "# From %s to %s.\n", row->min, row->max);
		if (row->words)
			fprintf(out, "# One of: %s.\n", row->words);
		fprintf(out, "#%s = ", row->name);
		print_value(out, row, row->default_value);
		fputc('\n', out);
	}
}

void settings_help(FILE *out)
{
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		fprintf(out, "  %s = ", settings_rows[i].name);
		print_value(out, &settings_rows[i], settings_rows[i].default_value);
		fputc('\n', out);
		print_wrapped(out, "      ", settings_rows[i].help);
	}
}
