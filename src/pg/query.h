/* Queries and rows without libpq, which only pglink and pipeline use. */
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

struct statement {
	/* Prepared under this name on each connection at its first use; NULL: not prepared. */
	const char *name;
	const char *sql;
	int n_params;
};

typedef void row_fn(void *ctx, const struct row *row);
typedef void done_fn(void *ctx);

struct query {
	struct statement statement;
	const char *const *params;
	row_fn *row;   /* may be NULL */
	done_fn *done; /* after the last row; may be NULL */
	void *ctx;
};
