/* The row of answer.sql. */
#pragma once

#include "query.h"

/* Valid as long as the row. */
struct answer {
	const char *message; /* or the reason of the error; NULL: none */
	size_t len;
	const char *error; /* its code, static text; NULL with a NULL message: to be asked again */
};

struct answer answer_read(const struct row *row);
