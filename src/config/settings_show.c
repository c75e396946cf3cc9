#include "settings_priv.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

/* As the file would have it: what is text, or could be mistaken, in quotes. */
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

static char *shown(const struct setting_row *row, const struct setting_value *value,
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
		char *text = shown(&settings_rows[i], &settings->values[i], print_conninfo);
		fprintf(out, "%s = ", settings_rows[i].name);
		print_value(out, &settings_rows[i], text);
		fprintf(out, "  # %s\n", settings->values[i].origin);
		free(text);
	}
}

/* Breaks prose into lines of at most 78 columns. */
static void print_wrapped(FILE *out, const char *indent, const char *prose)
{
	size_t most = 78 - strlen(indent);
	while (*prose) {
		size_t len = strlen(prose);
		if (len > most) {
			for (len = most; len && prose[len] != ' ';)
				len--;
			len = len ? len : strcspn(prose, " ");
		}
		fprintf(out, "%s%.*s\n", indent, (int)len, prose);
		prose += len + (prose[len] == ' ');
	}
}

static void print_range(FILE *out, const char *indent, const struct setting_row *row)
{
	if (row->least)
		fprintf(out, "%s%s to %s.\n", indent, row->least, row->most);
	if (row->words)
		fprintf(out, "%sOne of: %s.\n", indent, row->words);
}

void settings_example(FILE *out)
{
	fputs("# Settings of pgcast, all at their defaults. What starts with # is not set.\n", out);
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		fputc('\n', out);
		print_wrapped(out, "# ", settings_rows[i].help);
		print_range(out, "# ", &settings_rows[i]);
		fprintf(out, "#%s = ", settings_rows[i].name);
		print_value(out, &settings_rows[i], settings_rows[i].initial);
		fputc('\n', out);
	}
}

void settings_help(FILE *out)
{
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		fprintf(out, "  %s = ", settings_rows[i].name);
		print_value(out, &settings_rows[i], settings_rows[i].initial);
		fputc('\n', out);
		print_wrapped(out, "      ", settings_rows[i].help);
	}
}
