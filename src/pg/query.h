/* Queries and rows, as those who ask see them: libpq stays behind pglink. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A row as it arrives; valid during the call. */
struct row;
/* NULL when the value is null; len may be NULL. */
const char *row_text(const struct row *row, int column, size_t *len);
int64_t row_int(const struct row *row, int column);
bool row_bool(const struct row *row, int column);

struct query {
	/* Prepared under this name on each connection at its first use; NULL: not prepared. */
	const char *name;
	const char *sql;
	const char *const *params;
	int n_params;
	/* NULL: the rows are of no interest. */
	void (*row)(void *ctx, const struct row *row);
	/* All rows have come. NULL: of no interest. */
	void (*done)(void *ctx);
	void *ctx;
};
